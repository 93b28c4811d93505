//! What a kept weight's value is, and what its gradient becomes.
//!
//! An [`Operator`] gives the weights that a mask keeps their values. The gradient that reaches it is the straight-through one:
//! whole where a weight is kept, and scaled by the [`Remainder`](crate::Remainder) where it is pruned. An operator whose own
//! derivative counts changes it further.

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

/// A layer as an operator sees it.
#[derive(Clone, Copy, Debug)]
pub struct Gated<'a> {
    /// Which layer.
    pub id: LayerId,
    /// Its description.
    pub info: &'a LayerInfo,
    /// Its dense weights, in row-major order.
    pub weights: &'a [f32],
    /// Those that are kept.
    pub mask: &'a Mask,
    /// The largest magnitude below all that is kept, at least 0.
    pub cut: f32,
    /// Layers of one number share a cut; `None` for a layer that is left dense.
    pub group: Option<usize>,
    /// The step.
    pub step: Step,
}

/// Says what kept weights are, and what becomes of their gradient.
///
/// ```
/// use candle_core::{Device, Var};
/// use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
/// use taper_prune::{Pruner, operator::{Gated, Operator}};
/// use taper_schedule::{Curve, Ramp};
///
/// /// Kept weights are their signs, times the mean magnitude of what the layer keeps: one bit a weight.
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
    /// The threshold that gives kept weights their values, if one does. Kernels then apply it, and [`values`](Self::values)
    /// is not asked.
    fn threshold(&self) -> Option<Threshold> {
        None
    }

    /// Whether kept weights shrink by the cut. Masks that are swapped or held, and weights that are kept together, have none.
    fn needs_cut(&self) -> bool {
        self.threshold().is_some_and(|threshold| threshold != Threshold::Hard)
    }

    /// Whether a weight of 0 has a gradient. Where it has none, a weight that is put to 0 stays there.
    fn moves_zeros(&self) -> bool {
        true
    }

    /// The values of each layer's weights, in their order; those of pruned weights have no effect. `None` for a layer whose
    /// kept weights are their own values. Layers come in the order of their [`LayerId`]s, all of them.
    fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        vec![None; layers.len()]
    }

    /// What the weights of a new run begin with, in place of the ones that a layer was initialised with; `None` for these.
    fn initial(&self, _weights: &[f32]) -> Option<Vec<f32>> {
        None
    }

    /// Is told of the layers of each step, before it is asked for their values.
    fn begin_step(&mut self, _layers: &[Gated]) {}

    /// Whether [`backward`](Self::backward) does anything; if not, it is not called.
    fn has_backward(&self) -> bool {
        false
    }

    /// Turns the straight-through gradients of each layer into those of its dense weights, in place.
    fn backward(&mut self, _layers: &[Gated], _grads: &mut [Vec<f32>]) {}

    /// Whether what is kept stays so from now on: masks are held, and no gradient of pruned weights is computed.
    fn is_frozen(&self) -> bool {
        false
    }

    /// The cut of a layer, where it is the operator that decides what is kept: each weight of a larger magnitude. The
    /// schedule, the allocation and the criterion have no say then.
    fn cut(&self, _layer: LayerId) -> Option<f32> {
        None
    }

    /// Moves what the operator learns by the gradients of the last [`backward`](Self::backward), times `factor`, the one of
    /// clipping.
    fn learn(&mut self, _factor: f64, _lr: f64) {}

    /// Everything about the operator that steps change.
    fn state(&self) -> Vec<f32> {
        Vec::new()
    }

    /// Takes back what [`state`](Self::state) gave, for a network of these layers.
    ///
    /// # Errors
    /// A sentence, if it belongs to another operator or network.
    fn restore(&mut self, state: &[f32], _layers: &[&LayerInfo]) -> Result<(), String> {
        match state {
            [] => Ok(()),
            _ => Err("it was saved with another operator".into()),
        }
    }

    /// Checks the operator's numbers.
    ///
    /// # Errors
    /// A sentence: what is out of range, and what the range is.
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

    /// A layer alone in its group, at step 0.
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
