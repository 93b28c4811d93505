//! GraSP: loss of gradient flow without a weight.

use super::{Criterion, View, of_both};
use crate::{
    error::PruneError,
    measure::{GradientOracle, Measure, Measured, Sample, values},
};
use std::borrow::Cow;

/// `w·(Hg)`, with the gradient g and the Hessian H of the loss of sample images. To first order, `gᵀg` falls by twice
/// this value if the weight becomes 0. Weights with the largest scores are kept, and the sign counts.
///
/// Scores are shifted and scaled over all layers to `[0, 1]`.
///
/// # References
/// Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient Flow" (arXiv:2002.07376). The score in
/// the paper has the opposite sign, and the paper removes the largest scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grasp {
    /// Images per class, at least 1.
    pub per_class: usize,
    /// Divisor of the logits, above 0: the probabilities of an untrained network are then nearly equal.
    pub temperature: f64,
}

impl Default for Grasp {
    /// 10 images per class and a temperature of 200, as published.
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

    fn check(&self) -> Result<(), String> {
        let Self { per_class, temperature } = *self;
        match (per_class, temperature > 0.0 && temperature.is_finite()) {
            (0, _) => Err("there are 0 images per class; give at least 1".into()),
            (_, false) => Err(format!("the temperature is {temperature}, outside (0, inf)")),
            _ => Ok(()),
        }
    }
}

impl Measure for Grasp {
    fn score_all(
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
                "GraSP scores range from {least} to {most} and do not rank weights; check that the network's output depends on its weights"
            );
            return Err(PruneError::Preparation { reason });
        }
        let shifted = |scores: &Vec<f64>| {
            scores.iter().map(|score| ((score - least) / (most - least)) as f32).collect()
        };
        Ok(scores.iter().map(shifted).collect())
    }
}
