//! The convolutions and linear layers of a graph, with their multiply-accumulates.

use crate::{Graph, GraphError, Op, Tensor, interpret::pixels};

/// A convolution or linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerCost<'a> {
    /// Name of its weight.
    pub name: &'a str,
    /// `[out, in / groups, kernel rows, kernel columns]`, or `[out, in]`.
    pub weight: &'a Tensor,
    /// Window positions per image: the number of output pixels; 1 for a linear layer.
    pub windows: usize,
}

impl LayerCost<'_> {
    /// Number of weights, zeros included.
    pub fn n_weights(&self) -> u64 {
        self.weight.values().len() as u64
    }

    /// Number of weights other than 0.
    pub fn n_kept(&self) -> u64 {
        self.weight.values().iter().filter(|&&weight| weight != 0.0).count() as u64
    }

    /// Multiply-accumulates per image with all weights. Products with padding count.
    pub fn macs_dense(&self) -> u64 {
        self.n_weights().saturating_mul(self.windows as u64)
    }

    /// Multiply-accumulates per image with the weights other than 0.
    pub fn macs_sparse(&self) -> u64 {
        self.n_kept().saturating_mul(self.windows as u64)
    }
}

impl Graph {
    /// The layers in order. A weight of two operations is listed twice. A fused operation has a layer for each of its
    /// convolutions. Matrices that only [select channels](Tensor::selects_channels) are not layers.
    ///
    /// ```
    /// use taper_graph::{Conv, Graph, Op, Tensor, Window};
    ///
    /// let mut graph = Graph::new(&[1, 4, 4]);
    /// graph.add_tensor("conv.weight", Tensor::new(&[2, 1, 3, 3], vec![0.5; 18])?);
    /// graph.output = graph.push(Op::Conv(Conv::new("conv.weight", Window::same(3))), &[Graph::INPUT])?;
    /// let layers = graph.layers()?;
    /// assert_eq!((layers[0].name, layers[0].macs_dense()), ("conv.weight", 18 * 16));
    /// # Ok::<(), taper_graph::GraphError>(())
    /// ```
    ///
    /// # Errors
    /// If the graph lacks a weight.
    pub fn layers(&self) -> Result<Vec<LayerCost<'_>>, GraphError> {
        let mut layers = Vec::new();
        for node in &self.nodes {
            let names: Vec<&str> = match &node.op {
                Op::Conv(conv) => vec![&conv.weight],
                Op::Linear { weight, .. } => vec![weight],
                Op::Fused(fused) => fused.convs.iter().map(|conv| &*conv.weight).collect(),
                _ => continue,
            };
            for name in names {
                let (weight, windows) = (self.tensor(name)?, pixels(&node.dims));
                if !weight.selects_channels() {
                    layers.push(LayerCost { name, weight, windows });
                }
            }
        }
        Ok(layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, Fused, Window};

    #[test]
    fn layers_are_counted_by_windows_and_weights() {
        let mut graph = Graph::new(&[2, 4, 6]);
        let tensor = |dims: &[usize], zeros: usize| {
            let n = dims.iter().product();
            Tensor::new(dims, (0..n).map(|i| f32::from(i >= zeros)).collect::<Vec<f32>>())
        };
        graph.add_tensor("a", tensor(&[4, 2, 3, 3], 2).unwrap());
        graph.add_tensor("b", tensor(&[3, 4], 0).unwrap());
        let strided = Window { stride: [2, 3], ..Window::same(3) };
        let conv = Conv::new("a", strided);
        let convs = vec![conv.clone(), conv.clone()];
        let a = graph.push(Op::Conv(conv), &[0]).unwrap();
        let fused = Fused { convs, bias: None, residual: true, activation: None };
        let x = graph.push(Op::Fused(fused), &[0, 0, a]).unwrap();
        let x = graph.push(Op::GlobalAverage, &[x]).unwrap();
        let x = graph.push(Op::Reshape(vec![4]), &[x]).unwrap();
        let linear = Op::Linear { weight: "b".into(), bias: None };
        graph.output = graph.push(linear, &[x]).unwrap();
        let layers = graph.layers().unwrap();
        let found = layers.iter().map(|l| (l.name, l.n_weights(), l.n_kept(), l.windows));
        // A plane of 4 × 6 pixels has 2 × 2 window positions.
        let conv = ("a", 72, 70, 4);
        assert_eq!(found.collect::<Vec<_>>(), [conv, conv, conv, ("b", 12, 12, 1)]);
        let macs = |i: usize| (layers[i].macs_dense(), layers[i].macs_sparse());
        assert_eq!((macs(0), macs(3)), ((288, 280), (12, 12)));
        // Selects channels 1 and 0.
        graph.add_tensor("b", Tensor::new(&[2, 4], [0., 1., 0., 0., 1., 0., 0., 0.]).unwrap());
        assert_eq!(graph.layers().unwrap().len(), 3);
        graph.add_tensor("b", Tensor::new(&[2, 4], [0., 1., 0., 0., 1., 0., 0., 0.5]).unwrap());
        assert_eq!(graph.layers().unwrap().len(), 4);
        graph.tensors.clear();
        assert!(graph.layers().unwrap_err().to_string().contains("`a`"));
    }
}
