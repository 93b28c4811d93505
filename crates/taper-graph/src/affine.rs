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
    /// If a tensor is not in the graph.
    pub fn affine(&self, graph: &Graph) -> Result<Vec<Affine>, GraphError> {
        let [weight, bias, mean, var] = [&self.weight, &self.bias, &self.mean, &self.var]
            .map(|name| graph.tensor(name).map(|tensor| tensor.values()));
        let (weight, bias, mean, var) = (weight?, bias?, mean?, var?);
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
