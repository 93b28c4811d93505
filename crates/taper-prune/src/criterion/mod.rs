//! Criteria: importance scores of weights.
//!
//! A [`Criterion`] computes a score for each weight of a layer. The weights with scores of the largest magnitude are
//! kept first; ties go to the lower index. In prune-and-regrow, one criterion decides which weights are pruned, and
//! another one which weights are regrown.

mod ema;
mod fisher;
mod gradient;
mod grasp;
mod inverted;
mod magnitude;
mod mest;
mod movement;
mod normalised;
mod per_sign;
mod random;
mod saliency;
mod scaled;
mod syn_flow;

pub use ema::GradientEma;
pub use fisher::Fisher;
pub use gradient::Gradient;
pub use grasp::Grasp;
pub use inverted::Inverted;
pub use magnitude::Magnitude;
pub use mest::Mest;
pub use movement::Movement;
pub use normalised::Normalised;
pub use per_sign::PerSign;
pub use random::Random;
pub use saliency::Saliency;
pub use scaled::ScaledMagnitude;
pub use syn_flow::SynFlow;

use crate::measure::Measure;
use std::{borrow::Cow, fmt::Debug};
use taper_core::{LayerId, LayerInfo, Step};

/// A layer as a criterion reads it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Index of the layer.
    pub id: LayerId,
    /// Description of the layer.
    pub info: &'a LayerInfo,
    /// Dense weights, in row-major order.
    pub weights: &'a [f32],
    /// The gradient of the loss with respect to the weights that the network uses, for kept and pruned weights, if the
    /// criterion [needs it](Criterion::needs_gradient). For a criterion that [measures](Criterion::measure) the
    /// network: the measured scores. For a criterion that [remembers](Criterion::remembers) gradients: the accumulated
    /// values.
    pub gradient: Option<&'a [f32]>,
    /// The current step.
    pub step: Step,
}

/// Computes the importance scores of weights.
///
/// ```
/// use std::borrow::Cow;
/// use taper_prune::criterion::{Criterion, View};
///
/// /// The magnitude relative to the largest one of the layer.
/// #[derive(Debug)]
/// struct Relative;
///
/// impl Criterion for Relative {
///     fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
///         let largest = layer.weights.iter().fold(0.0f32, |most, w| most.max(w.abs()));
///         layer.weights.iter().map(|w| w / largest.max(f32::MIN_POSITIVE)).collect()
///     }
/// }
/// ```
pub trait Criterion: Debug + Send + Sync {
    /// A score for each weight; weights are ranked by its magnitude. It must depend only on `layer`.
    ///
    /// Building a pruner asks for the scores, and for a [`magnitude`](Self::magnitude), of a made-up layer without a
    /// name and with one or two weights, to find combinations that exclude each other.
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]>;

    /// Whether scores need the gradient of kept and pruned weights. Steps that choose masks then compute it in full.
    fn needs_gradient(&self) -> bool {
        false
    }

    /// Whether scores need the gradients of all steps so far. Every step then computes them in full, for pruned weights
    /// too.
    fn remembers(&self) -> bool {
        false
    }

    /// Adds the gradient of a step to the accumulated values of a layer: one number for each weight, 0 before the first
    /// step. Called after each backward pass, before masks are chosen.
    fn remember(&self, _memory: &mut [f32], _layer: &View) {}

    /// How the network is measured before a step that chooses masks by this criterion, if the weights and the gradient
    /// of the step are not sufficient: see [`Pruner::prepare`](crate::Pruner::prepare).
    fn measure(&self) -> Option<&dyn Measure> {
        None
    }

    /// The magnitude of a weight with this score in a layer; shrinking operators shrink kept weights by it. `None` if
    /// scores do not correspond to magnitudes; weights then do not shrink.
    fn magnitude(&self, _layer: &View, _score: f32) -> Option<f32> {
        None
    }

    /// Checks the parameters of this criterion.
    ///
    /// # Errors
    /// A message: which parameter is out of range, and its legal range.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl<C: Criterion + ?Sized> Criterion for Box<C> {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        (**self).scores(layer)
    }

    fn needs_gradient(&self) -> bool {
        (**self).needs_gradient()
    }

    fn remembers(&self) -> bool {
        (**self).remembers()
    }

    fn remember(&self, memory: &mut [f32], layer: &View) {
        (**self).remember(memory, layer);
    }

    fn measure(&self) -> Option<&dyn Measure> {
        (**self).measure()
    }

    fn magnitude(&self, layer: &View, score: f32) -> Option<f32> {
        (**self).magnitude(layer, score)
    }

    fn check(&self) -> Result<(), String> {
        (**self).check()
    }
}

/// A score from weight and gradient, element by element; 0 if there is no gradient.
fn of_both<'a>(layer: &View<'a>, score: impl Fn(f32, f32) -> f32) -> Cow<'a, [f32]> {
    match layer.gradient {
        Some(gradient) => layer.weights.iter().zip(gradient).map(|(&w, &g)| score(w, g)).collect(),
        None => vec![0.0; layer.weights.len()].into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use taper_core::LayerKind;

    /// A linear layer of this shape.
    pub(crate) fn info(shape: &[usize]) -> LayerInfo {
        LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: shape.to_vec() }
    }

    /// The scores of a layer `[2, n / 2]`.
    pub(crate) fn scores(
        criterion: &dyn Criterion,
        weights: &[f32],
        gradient: &[f32],
        step: u64,
    ) -> Vec<f32> {
        let info = info(&[2, weights.len() / 2]);
        let view = View {
            id: LayerId(0),
            info: &info,
            weights,
            gradient: Some(gradient),
            step: Step(step),
        };
        criterion.scores(&view).into_owned()
    }

    /// The accumulated values of a layer after steps with these weights and gradients.
    pub(crate) fn remembered(
        criterion: &dyn Criterion,
        weights: &[&[f32]],
        gradients: &[&[f32]],
    ) -> Vec<f32> {
        let info = info(&[2, weights[0].len() / 2]);
        let mut memory = vec![0.0; weights[0].len()];
        for (step, (weights, gradient)) in weights.iter().zip(gradients).enumerate() {
            let (id, gradient, step) = (LayerId(0), Some(*gradient), Step(step as u64));
            criterion.remember(&mut memory, &View { id, info: &info, weights, gradient, step });
        }
        memory
    }

    #[test]
    fn scores_of_weights_and_gradients() {
        let (w, g) = ([0.5, -2.0, 0.0, 1.0], [-1.0, 0.25, 3.0, 0.0]);
        let of = |criterion: &dyn Criterion| scores(criterion, &w, &g, 7);
        assert_eq!(of(&Magnitude), w);
        assert_eq!(of(&Gradient), g);
        assert_eq!(of(&Saliency), [-0.5, -0.5, 0.0, 0.0]);
        assert_eq!(of(&Mest { lambda: 0.5 }), [1.0, 2.125, 1.5, 1.0]);
        let needs: [&dyn Criterion; 4] = [&Gradient, &Saliency, &Mest::default(), &Magnitude];
        assert_eq!(needs.map(Criterion::needs_gradient), [true, true, true, false]);
    }

    #[test]
    fn scaled_magnitudes_are_divided_by_the_standard_deviation_of_the_layer_shape() {
        // 1/√(2 + 2) is 0.5.
        assert_eq!(
            scores(&ScaledMagnitude, &[0.5, -2.0, 0.0, 1.0], &[0.0; 4], 0),
            [1.0, -4.0, 0.0, 2.0]
        );
        let info = info(&[2, 2]);
        let view =
            View { id: LayerId(0), info: &info, weights: &[], gradient: None, step: Step::ZERO };
        assert_eq!(ScaledMagnitude.magnitude(&view, 3.0), Some(1.5));
        assert_eq!(Magnitude.magnitude(&view, 3.0), Some(3.0));
        assert_eq!(Gradient.magnitude(&view, 3.0), None);
    }

    #[test]
    fn each_sign_is_ranked_separately() {
        let of = |w: &[f32]| scores(&PerSign, w, &vec![0.0; w.len()], 0);
        assert_eq!(
            of(&[0.5, -2.0, 0.0, 1.0, -0.0, 0.5]),
            [2.0 / 3.0, 1.0, 0.0, 1.0, 0.0, 1.0 / 3.0]
        );
        assert_eq!(of(&[-0.1, -0.2, 9.0, -0.4, -0.3, 8.0]), [0.25, 0.5, 1.0, 1.0, 0.75, 0.5]);
        assert!(!PerSign.needs_gradient());
    }

    #[test]
    fn random_scores_are_those_of_a_seed_and_a_step() {
        let of = |seed, step| scores(&Random { seed }, &[0.0; 64], &[0.0; 64], step);
        assert_eq!(of(1, 2), of(1, 2));
        assert!(of(1, 2) != of(2, 2) && of(1, 2) != of(1, 3));
        assert!(of(1, 2).iter().all(|score| (0.0..1.0).contains(score)));
    }
}
