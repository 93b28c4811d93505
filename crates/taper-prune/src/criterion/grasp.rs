//! What the flow of gradients would lose without a weight.

use super::{Criterion, View, of_both};
use crate::{
    error::PruneError,
    measure::{GradientOracle, Measure, Measured, Sample, values},
};
use std::borrow::Cow;

/// `w·(Hg)`, with the gradient g and the Hessian H of the loss of some images: to first order, twice this is what `gᵀg` loses if
/// the weight becomes 0. Weights of the largest score are kept, and its sign counts.
///
/// Scores are shifted and scaled over all layers to `[0, 1]`.
///
/// # References
/// Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient Flow" (arXiv:2002.07376): its score is the
/// negative of this one, and it removes the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grasp {
    /// Images of each class, at least 1.
    pub per_class: usize,
    /// What logits are divided by, above 0: probabilities of an untrained network are then nearly equal.
    pub temperature: f64,
}

impl Default for Grasp {
    /// Ten images of each class at a temperature of 200, as published.
    fn default() -> Self {
        Self { per_class: 10, temperature: 200.0 }
    }
}

impl Criterion for Grasp {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |_, measured| measured)
    }

    fn measure(&self) -> Option<&dyn Measure> {
        Some(self)
    }
}

impl Measure for Grasp {
    fn measure(
        &self,
        network: &mut dyn GradientOracle,
        layers: &[Measured],
    ) -> Result<Vec<Vec<f32>>, PruneError> {
        let sample = Sample { per_class: self.per_class, temperature: self.temperature };
        let gradient = network.gradient(&sample)?;
        values(&gradient, layers)?;
        let mut scores = values(&network.curvature(&sample, &gradient)?, layers)?;
        for (scores, layer) in scores.iter_mut().zip(layers) {
            scores.iter_mut().zip(layer.weights).for_each(|(s, &w)| *s *= f64::from(w));
        }
        let all = || scores.iter().flatten().copied();
        let (least, most) =
            (all().fold(f64::INFINITY, f64::min), all().fold(-f64::INFINITY, f64::max));
        if !(most - least > 0.0 && (most - least).is_finite()) {
            let reason = format!(
                "the scores of GraSP are from {least} to {most} and rank nothing; check that the network's output depends on its weights"
            );
            return Err(PruneError::Preparation { reason });
        }
        let shifted = |scores: &Vec<f64>| {
            scores.iter().map(|score| ((score - least) / (most - least)) as f32).collect()
        };
        Ok(scores.iter().map(shifted).collect())
    }
}
