//! SynFlow: synaptic flow through a weight.

use super::{Criterion, View, of_both};
use crate::{
    error::PruneError,
    measure::{GradientOracle, Measure, Measured, values},
};
use candle_core::{Device, Tensor};
use std::borrow::Cow;

/// `|w·∂R/∂w|` with the synaptic flow R: the sum over all paths through the network of the product of their weight
/// magnitudes. No data is needed.
///
/// The network is measured in several rounds while its density falls exponentially. No layer then loses all of its
/// weights earlier than necessary. A weight that was pruned in an earlier round has a score of 0, below all kept
/// weights.
///
/// # References
/// Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow"
/// (arXiv:2006.05467), algorithm 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynFlow {
    /// Number of rounds, at least 1.
    pub rounds: u32,
}

impl Default for SynFlow {
    /// 100 rounds, as published.
    fn default() -> Self {
        Self { rounds: 100 }
    }
}

impl Criterion for SynFlow {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |_, measured| measured)
    }

    fn measure(&self) -> Option<&dyn Measure> {
        Some(self)
    }

    fn check(&self) -> Result<(), String> {
        match self.rounds {
            0 => Err("the network is measured in 0 rounds; give at least 1".into()),
            _ => Ok(()),
        }
    }
}

impl Measure for SynFlow {
    fn rounds(&self) -> u32 {
        self.rounds
    }

    fn score_all(
        &self,
        network: &mut dyn GradientOracle,
        layers: &[Measured],
    ) -> Result<Vec<Vec<f32>>, PruneError> {
        let magnitudes: Vec<Vec<f64>> = layers.iter().map(magnitudes).collect();
        let weights = magnitudes.iter().zip(layers);
        let weights: Vec<Tensor> = weights
            .map(|(w, layer)| Tensor::from_slice(w, &layer.info.shape[..], &Device::Cpu))
            .collect::<candle_core::Result<_>>()?;
        let mut scores = values(&network.flow(&weights)?, layers)?;
        for (scores, magnitudes) in scores.iter_mut().zip(&magnitudes) {
            scores.iter_mut().zip(magnitudes).for_each(|(s, w)| *s = (*s * w).abs());
        }
        let most = scores.iter().flatten().fold(0.0, |most: f64, &score| most.max(score));
        if !(most > 0.0 && most.is_finite()) {
            let reason = format!(
                "the largest synaptic flow of a weight is {most}, so no path of kept weights leads from the input to the output; lower the sparsity, or use more rounds"
            );
            return Err(PruneError::Preparation { reason });
        }
        let scores = scores.iter().zip(layers).map(|(scores, layer)| {
            let mut relative: Vec<f32> = scores.iter().map(|s| (s / most) as f32).collect();
            // Kept weights rank above pruned ones, even without any flow.
            for index in layer.mask.kept() {
                relative[index] = relative[index].max(f32::MIN_POSITIVE);
            }
            relative
        });
        Ok(scores.collect())
    }
}

/// The magnitudes of kept weights, and 0 for pruned ones.
fn magnitudes(layer: &Measured) -> Vec<f64> {
    let mut found = vec![0.0; layer.weights.len()];
    layer.mask.kept().for_each(|index| found[index] = f64::from(layer.weights[index]).abs());
    found
}
