//! Operators: the values of kept weights, and their gradient.
//!
//! An [`Operator`] computes the values of the weights that a mask keeps. It receives the straight-through gradient:
//! unscaled for kept weights, and scaled as the [`Remainder`](crate::Remainder) sets for pruned weights. An operator
//! with its own derivative changes this gradient further.

mod learned;
mod power;
mod rescaled;
mod soft_top_k;
mod threshold;

pub use learned::LearnedThreshold;
pub use power::PowerPropagation;
pub use rescaled::RescaledSoft;
pub use soft_top_k::SoftTopK;

use std::fmt::Debug;
use taper_core::{LayerId, LayerInfo, Step};
use taper_kernels::{mask::Mask, threshold::Threshold};

/// A layer as an operator reads it.
#[derive(Clone, Copy, Debug)]
pub struct Gated<'a> {
    /// Index of the layer.
    pub id: LayerId,
    /// Description of the layer.
    pub info: &'a LayerInfo,
    /// Dense weights, in row-major order.
    pub weights: &'a [f32],
    /// The kept weights.
    pub mask: &'a Mask,
    /// Magnitude threshold: the largest magnitude below all kept weights, at least 0.
    pub cut: f32,
    /// Group number: layers with the same number share a threshold. `None` for a layer that is left dense.
    pub group: Option<usize>,
    /// The current step.
    pub step: Step,
}

/// Computes the values of kept weights, and changes their gradient.
///
/// ```
/// use candle_core::{Device, Var};
/// use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
/// use taper_prune::{Pruner, operator::{Gated, Operator}};
/// use taper_schedule::{Curve, Ramp};
///
/// /// The sign of each kept weight, times the mean magnitude of the kept weights of its layer: one bit per weight.
/// #[derive(Debug)]
/// struct Binary;
///
/// impl Operator for Binary {
///     fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
///         let of_layer = |layer: &Gated| {
///             let sum: f32 = layer.mask.kept().map(|i| layer.weights[i].abs()).sum();
///             let mean = sum / layer.mask.n_kept().max(1) as f32;
///             Some(layer.weights.iter().map(|w| mean.copysign(*w)).collect())
///         };
///         layers.iter().map(of_layer).collect()
///     }
/// }
///
/// let weight = Var::new(&[[0.1f32, -0.9, 0.5, 0.2]], &Device::Cpu)?;
/// let info = LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![1, 4] };
/// let at_once = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::new(0.5)?);
/// let mut pruner = Pruner::builder([(info, &weight)], at_once, 100).operator(Binary).build()?;
/// pruner.begin_step(Step(0))?;
/// pruner.bake()?;
/// assert_eq!(weight.to_vec2::<f32>()?, [[0.0, -0.7, 0.7, 0.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Operator: Debug + Send + Sync {
    /// The thresholding function that computes the values of kept weights, if the operator is one. Kernels then apply
    /// it, and [`values`](Self::values) is not called.
    fn threshold(&self) -> Option<Threshold> {
        None
    }

    /// Whether kept weights shrink by the magnitude threshold. Masks that are held, masks from prune-and-regrow, and
    /// structured masks have no such threshold.
    fn needs_cut(&self) -> bool {
        self.threshold().is_some_and(|threshold| threshold != Threshold::Hard)
    }

    /// Whether a weight of 0 receives a gradient. Without one, a weight that is set to 0 stays there.
    fn moves_zeros(&self) -> bool {
        true
    }

    /// The values of each layer's weights, in row-major order; values of pruned weights have no effect. `None` for a
    /// layer that uses its kept weights unchanged. `layers` contains all layers, in the order of their [`LayerId`]s.
    fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        vec![None; layers.len()]
    }

    /// Values that replace the initialized weights of a layer at the start of a new run; `None` leaves the weights
    /// unchanged.
    fn initial(&self, _weights: &[f32]) -> Option<Vec<f32>> {
        None
    }

    /// Called with the layers of each step, before [`values`](Self::values). Operators with a threshold compute no
    /// values of their own, and are not called.
    fn begin_step(&mut self, _layers: &[Gated]) {}

    /// Whether [`backward`](Self::backward) has an effect; if not, it is not called.
    fn has_backward(&self) -> bool {
        false
    }

    /// Converts the straight-through gradients of each layer to gradients of its dense weights, in place.
    fn backward(&mut self, _layers: &[Gated], _grads: &mut [Vec<f32>]) {}

    /// Whether masks are final: they are held from now on, and pruned weights receive no gradient.
    fn is_frozen(&self) -> bool {
        false
    }

    /// The step from which masks are final, if it is known in advance. The schedule must be at its target by then.
    fn frozen_from(&self) -> Option<Step> {
        None
    }

    /// The threshold of a layer, if the operator decides which weights are kept: all weights of larger magnitude. The
    /// schedule, the allocation and the criterion then have no effect.
    fn cut(&self, _layer: LayerId) -> Option<f32> {
        None
    }

    /// Updates the learned parameters of the operator with the gradients of the last [`backward`](Self::backward),
    /// times `factor`, the factor of gradient clipping. `lr` is the learning rate.
    fn learn(&mut self, _factor: f64, _lr: f64) {}

    /// The state of the operator: everything that steps change.
    fn state(&self) -> Vec<f32> {
        Vec::new()
    }

    /// Restores a [`state`](Self::state), for a network with these layers.
    ///
    /// # Errors
    /// A message, if the state is from another operator or network.
    fn restore(&mut self, state: &[f32], _layers: &[&LayerInfo]) -> Result<(), String> {
        match state {
            [] => Ok(()),
            _ => Err("it was saved with another operator".into()),
        }
    }

    /// Checks the parameters of the operator.
    ///
    /// # Errors
    /// A message: which parameter is out of range, and its legal range.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Operator for Box<dyn Operator> {
    fn threshold(&self) -> Option<Threshold> {
        (**self).threshold()
    }

    fn needs_cut(&self) -> bool {
        (**self).needs_cut()
    }

    fn moves_zeros(&self) -> bool {
        (**self).moves_zeros()
    }

    fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        (**self).values(layers)
    }

    fn initial(&self, weights: &[f32]) -> Option<Vec<f32>> {
        (**self).initial(weights)
    }

    fn begin_step(&mut self, layers: &[Gated]) {
        (**self).begin_step(layers);
    }

    fn has_backward(&self) -> bool {
        (**self).has_backward()
    }

    fn backward(&mut self, layers: &[Gated], grads: &mut [Vec<f32>]) {
        (**self).backward(layers, grads);
    }

    fn is_frozen(&self) -> bool {
        (**self).is_frozen()
    }

    fn frozen_from(&self) -> Option<Step> {
        (**self).frozen_from()
    }

    fn cut(&self, layer: LayerId) -> Option<f32> {
        (**self).cut(layer)
    }

    fn learn(&mut self, factor: f64, lr: f64) {
        (**self).learn(factor, lr);
    }

    fn state(&self) -> Vec<f32> {
        (**self).state()
    }

    fn restore(&mut self, state: &[f32], layers: &[&LayerInfo]) -> Result<(), String> {
        (**self).restore(state, layers)
    }

    fn check(&self) -> Result<(), String> {
        (**self).check()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::criterion::tests::info as named;

    pub(crate) fn info(shape: &[usize]) -> LayerInfo {
        named(shape)
    }

    /// A layer that is its own group, at step 0.
    pub(crate) fn gated<'a>(
        info: &'a LayerInfo,
        weights: &'a [f32],
        mask: &'a Mask,
        cut: f32,
    ) -> Gated<'a> {
        let (id, group, step) = (LayerId(0), Some(0), Step::ZERO);
        Gated { id, info, weights, mask, cut, group, step }
    }

    /// Compares the gradient of a sum of values with finite differences.
    pub(crate) fn rises(
        operator: &mut dyn Operator,
        info: &LayerInfo,
        weights: &[f32],
        mask: &Mask,
        cut: f32,
    ) {
        let sum = |weights: &[f32]| {
            let values = operator.values(&[gated(info, weights, mask, cut)]).swap_remove(0);
            let values = values.unwrap();
            mask.kept().map(|i| f64::from(values[i])).sum::<f64>()
        };
        let slope = |i: usize| {
            let at = |d: f32| {
                let mut moved = weights.to_vec();
                moved[i] += d;
                sum(&moved)
            };
            (at(1e-3) - at(-1e-3)) / 2e-3
        };
        let want: Vec<f64> = (0..weights.len()).map(slope).collect();
        let mut grads = [vec![1.0; weights.len()]];
        operator.backward(&[gated(info, weights, mask, cut)], &mut grads);
        for (got, want) in grads[0].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 2e-3, "{got} for {want}");
        }
    }
}
