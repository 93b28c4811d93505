//! The affine function that a batch norm applies to each channel.

use crate::{Graph, GraphError, Norm};

/// `x · scale + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Factor.
    pub scale: f64,
    /// Summand.
    pub shift: f64,
}

impl Affine {
    /// `x · scale + shift`. With a scale of 0 it is the shift, even for infinite or NaN `x`.
    pub fn apply(self, x: f64) -> f64 {
        match self.scale {
            0.0 => self.shift,
            scale => x * scale + self.shift,
        }
    }
}

impl Norm {
    /// The function of each channel.
    ///
    /// # Errors
    /// If the graph lacks one of the tensors, or their numbers of values differ.
    pub fn affine(&self, graph: &Graph) -> Result<Vec<Affine>, GraphError> {
        let [weight, bias, mean, var] = [&self.weight, &self.bias, &self.mean, &self.var]
            .map(|name| graph.tensor(name).map(|tensor| tensor.values()));
        let (weight, bias, mean, var) = (weight?, bias?, mean?, var?);
        let lens = [weight, bias, mean, var].map(<[f32]>::len);
        if lens != [weight.len(); 4] {
            let message = format!("the tensors of a batch norm have different lengths, {lens:?}");
            return Err(GraphError::new(message));
        }
        let channel = |c: usize| {
            let scale = f64::from(weight[c]) / (f64::from(var[c]) + self.eps).sqrt();
            let shift = match scale {
                0.0 => f64::from(bias[c]),
                scale => f64::from(bias[c]) - f64::from(mean[c]) * scale,
            };
            Affine { scale, shift }
        };
        Ok((0..weight.len()).map(channel).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    #[test]
    fn tensors_of_different_lengths_are_an_error() {
        let mut graph = Graph::new(&[2, 1, 1]);
        for (name, n) in [("a", 2), ("b", 1)] {
            graph.add_tensor(name, Tensor::new(&[n], vec![1.0; n]).unwrap());
        }
        let [weight, bias, mean, var] = ["a", "a", "a", "b"].map(String::from);
        let norm = Norm { weight, bias, mean, var, eps: 0.0 };
        let error = norm.affine(&graph).unwrap_err().to_string();
        assert_eq!(error, "the tensors of a batch norm have different lengths, [2, 2, 2, 1]");
    }
}
