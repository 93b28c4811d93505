//! Masks from measurements of the network, in rounds.

use crate::{
    choices::Choices,
    choose::{Asked, LayerCut},
    error::PruneError,
    measure::{GradientOracle, Measure, Measured},
};
use taper_core::{Sparsity, Step};
use taper_nn::ops::with_values;

/// Measured masks of a step.
#[derive(Debug)]
pub(crate) struct Prepared {
    step: Step,
    sparsity: Sparsity,
    cut: Vec<LayerCut>,
}

impl Prepared {
    /// Measures the network in rounds; the density falls by the same factor in each round.
    pub(crate) fn of(
        choices: &Choices,
        asked: &Asked,
        measure: &dyn Measure,
        network: &mut dyn GradientOracle,
    ) -> Result<Self, PruneError> {
        // A copy: the network may read the weights during the measurement.
        let weights: Vec<Vec<f32>> =
            with_values(&choices.tensors(), |w| w.iter().map(|w| w.to_vec()).collect())?;
        let rounds = measure.rounds().max(1);
        let mut cut = asked.before.to_vec();
        let n_weights: u64 = choices.infos().map(|info| info.n_weights()).sum();
        let density = asked.sparsity.density();
        let before = Sparsity::of(cut.iter().map(|cut| cut.mask.n_kept()).sum(), n_weights);
        // Densities of rounds to a higher density fall from 1.
        let before = if before.density() < density { 1.0 } else { before.density() };
        for round in 1..=rounds {
            let layers = choices.infos().zip(&weights).zip(&cut);
            let layers: Vec<Measured> = layers
                .map(|((info, weights), cut)| Measured { info, weights, mask: &cut.mask })
                .collect();
            let scores = measure.score_all(network, &layers)?;
            if !scores.iter().map(Vec::len).eq(weights.iter().map(Vec::len)) {
                let reason =
                    format!("{:?} does not return one score for each weight", asked.criterion);
                return Err(PruneError::Preparation { reason });
            }
            let sparsity = match round == rounds {
                true => asked.sparsity,
                false => {
                    let share = f64::from(round) / f64::from(rounds);
                    Sparsity::saturating(1.0 - before * libm::pow(density / before, share))
                }
            };
            let asked = Asked { sparsity, gradients: Some(&scores), before: &cut, ..*asked };
            cut = choices.choose(&asked)?;
        }
        Ok(Self { step: asked.step, sparsity: asked.sparsity, cut })
    }

    /// Thresholds and masks of every layer, if they are for this step and sparsity.
    pub(crate) fn at(&self, step: Step, sparsity: Sparsity) -> Option<&[LayerCut]> {
        (self.step == step && self.sparsity == sparsity).then_some(&self.cut)
    }
}
