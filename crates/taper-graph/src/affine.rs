//! What a batch norm does with a channel.

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
    /// Its value; with a factor of 0, `x` takes no part.
    pub fn apply(self, x: f64) -> f64 {
        match self.scale {
            0.0 => self.shift,
            scale => x * scale + self.shift,
        }
    }
}

impl Norm {
    /// What it does with each channel.
    ///
    /// # Errors
    /// If a tensor is not in the graph, or has another number of values than the others.
    pub fn affine(&self, graph: &Graph) -> Result<Vec<Affine>, GraphError> {
        let [weight, bias, mean, var] = [&self.weight, &self.bias, &self.mean, &self.var]
            .map(|name| graph.tensor(name).map(|tensor| tensor.values()));
        let (weight, bias, mean, var) = (weight?, bias?, mean?, var?);
        let lens = [weight, bias, mean, var].map(<[f32]>::len);
        if lens != [weight.len(); 4] {
            let message = format!("the tensors of a batch norm have {lens:?} values");
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
        assert_eq!(error, "the tensors of a batch norm have [2, 2, 2, 1] values");
    }
}
