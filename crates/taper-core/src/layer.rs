//! What allocation needs to know about a layer: its name, kind and weight shape, never its values.

/// Index of a layer among the prunable layers of a network, in the order of its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub usize);

/// What a prunable weight belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// Convolution; weight `[out, in / groups, kernel_h, kernel_w]`.
    Conv,
    /// Linear; weight `[out, in]`.
    Linear,
}

impl LayerKind {
    /// Lower-case name, as it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "conv",
            Self::Linear => "linear",
        }
    }
}

/// A prunable layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Name of the weight as in the state dict, e.g. `layer1.0.conv1.weight`.
    pub name: String,
    /// Convolution or linear.
    pub kind: LayerKind,
    /// Shape of the weight, output dimension first.
    pub shape: Vec<usize>,
}

impl LayerInfo {
    /// Number of weights: the product of the shape.
    pub fn n_weights(&self) -> u64 {
        self.shape.iter().map(|&d| d as u64).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_product_of_the_shape() {
        let conv = LayerInfo {
            name: "conv1.weight".into(),
            kind: LayerKind::Conv,
            shape: vec![32, 3, 3, 3],
        };
        assert_eq!(conv.n_weights(), 864);
        assert_eq!(conv.kind.name(), "conv");
    }
}
