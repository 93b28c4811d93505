//! Description of a prunable layer: name, kind and weight shape, without values.

/// Index of a layer among the prunable layers of a network, in registration order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub usize);

/// Layer type of a prunable weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// Convolution of any number of dimensions; weight `[out, in / groups, kernel…]`.
    Conv,
    /// Transposed convolution of any number of dimensions; weight `[in, out / groups, kernel…]`.
    ConvTranspose {
        /// Number of channel groups, a divisor of `in`.
        groups: usize,
    },
    /// Linear layer; weight `[out, in]`. Also each of the two matrices of an LSTM or GRU; `out` then counts the outputs
    /// of all gates.
    Linear,
}

impl LayerKind {
    /// Lower-case name, used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "conv",
            Self::ConvTranspose { .. } => "conv_transpose",
            Self::Linear => "linear",
        }
    }
}

/// A prunable layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Name of the weight as in the state dict, e.g. `layer1.0.conv1.weight`.
    pub name: String,
    /// Layer type; it defines the axes of `shape`.
    pub kind: LayerKind,
    /// Shape of the weight.
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
