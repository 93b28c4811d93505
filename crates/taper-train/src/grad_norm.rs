//! The gradient norm for clipping.
//!
//! Clipping must scale the gradients of kept weights as in exact training. Therefore the norm estimates the norm of the
//! exact gradient. The gradients of pruned weights in a step may differ from the exact ones ([`PrunedUpdate`]): they
//! may be multiplied by a number of steps, left out, or estimated from a sample.

use crate::clip::filter_size;
use candle_core::{Result, Tensor, Var, backprop::GradStore};
use taper_core::{LayerId, Step};
use taper_nn::{
    Gate, Gates, Params,
    ops::{choice::Choice, sampled_share, sum_of_squares, with_values},
};
use taper_prune::PrunedUpdate;

/// L2 norms of the gradients of all trained parameters, and of dead filters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradNorm {
    /// Norm of all trained parameters.
    pub all: f64,
    /// Norm of the weights of dead filters.
    pub dead: f64,
}

impl GradNorm {
    /// The norms of these gradients, without any correction. Squares are summed in f64, in registry order. `dead` lists
    /// the dead filters of each prunable layer; it may be empty.
    ///
    /// # Errors
    /// If a gradient cannot be read from its device.
    pub fn of(params: &Params, grads: &GradStore, dead: &[Vec<usize>]) -> Result<Self> {
        let mut all = 0.0;
        for (entry, _) in params.trained() {
            if let Some(grad) = grads.get(&entry.var) {
                all += sum_of_squares(grad)?;
            }
        }
        let mut squares = 0.0;
        for ((_, var), dead) in params.prunable().zip(dead) {
            squares += dead_squares(grads.get(var), dead)?;
        }
        // The two sums round differently; the part must not exceed the whole.
        Ok(Self { all: all.sqrt(), dead: squares.min(all).sqrt() })
    }

    /// The norm of all gradients outside dead filters.
    pub fn live(&self) -> f64 {
        (self.all * self.all - self.dead * self.dead).max(0.0).sqrt()
    }

    /// `dead / all`, in `[0, 1]`; 0 without a gradient.
    pub fn dead_share(&self) -> f64 {
        if self.all > 0.0 { self.dead / self.all } else { 0.0 }
    }
}

/// Sum of squared gradients in these filters.
fn dead_squares(grad: Option<&Tensor>, dead: &[usize]) -> Result<f64> {
    let Some(grad) = grad.filter(|_| !dead.is_empty()) else { return Ok(0.0) };
    let size = filter_size(grad);
    with_values(&[grad], |g| squares(dead.iter().flat_map(|f| &g[0][f * size..(f + 1) * size])))
}

fn squares<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    values.map(|&g| f64::from(g) * f64::from(g)).sum()
}

/// The gradients of a step, and the context of their computation.
pub(crate) struct Computed<'a> {
    pub(crate) params: &'a Params,
    pub(crate) grads: &'a GradStore,
    pub(crate) gates: &'a Gates,
    /// The dead filters of each prunable layer; may be empty.
    pub(crate) dead: &'a [Vec<usize>],
    pub(crate) n_images: usize,
    /// How the layers chose between dense and sparse kernels.
    pub(crate) choice: Choice,
}

/// Squared norms of the exact gradient of pruned weights, from the last step that computed it. With
/// [`PrunedUpdate::EveryNth`], the steps until the next such step use these values. They are part of the state of a
/// run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PrunedSquares {
    /// Squared norm of all pruned weights.
    pub all: f64,
    /// Squared norm of the pruned weights in dead filters.
    pub dead: f64,
}

impl PrunedSquares {
    /// The gradient norm of exact training, or an estimate of it.
    ///
    /// - `EveryNth(n)`: every n-th step computes the gradient of pruned weights, multiplied by n. In this step, their
    ///   squares are divided by n². In the steps between, the gradient is unknown, and the squares of the last n-th
    ///   step are used: the norm changes little over a few steps. Without them, n − 1 of n steps would clip kept
    ///   weights too little.
    /// - `Sampled`: the gradient of pruned weights is a sum over m of n blocks, times n/m. The variance of this
    ///   estimate increases the squares, so they are multiplied by m/n. The result is unbiased if the gradients of
    ///   blocks are uncorrelated, too small if they agree, and too large if they cancel.
    /// - Otherwise, the gradients are used without correction. Weights without a gradient (outside the live set of
    ///   `Live`, or dropped) are not trained in the step.
    ///
    /// # Errors
    /// If a gradient cannot be read from its device.
    pub(crate) fn norm(
        &mut self,
        computed: &Computed,
        update: PrunedUpdate,
        step: Step,
    ) -> Result<GradNorm> {
        let Computed { params, grads, dead, n_images, choice, .. } = *computed;
        match update {
            PrunedUpdate::EveryStep | PrunedUpdate::EveryNth(1) | PrunedUpdate::Live { .. } => {
                GradNorm::of(params, grads, dead)
            }
            PrunedUpdate::EveryNth(n) => {
                let (kept, pruned) = computed.squares(|_, _| 1.0 / (n as f64 * n as f64))?;
                if step.0.is_multiple_of(n) {
                    *self = pruned;
                }
                Ok(self.beside(kept))
            }
            PrunedUpdate::Sampled { .. } => {
                let share =
                    |gate: &Gate, weight: &Var| sampled_share(gate, weight, n_images, choice);
                let (kept, pruned) = computed.squares(share)?;
                Ok(pruned.beside(kept))
            }
        }
    }

    /// The norm of these gradients together with all others; `kept` is the sum of squares of the others.
    fn beside(self, kept: f64) -> GradNorm {
        GradNorm { all: (kept + self.all).sqrt(), dead: self.dead.min(self.all).sqrt() }
    }
}

impl Computed<'_> {
    /// The sum of squares of all gradients except those of pruned weights, and the sum of squares of pruned weights.
    /// The latter are multiplied by the factor of their layer.
    fn squares(&self, factor: impl Fn(&Gate, &Var) -> f64) -> Result<(f64, PrunedSquares)> {
        let (mut kept, mut pruned) = (0.0, PrunedSquares::default());
        let mut n_layers = 0;
        for (entry, kind) in self.params.trained() {
            let layer = kind.is_prunable().then_some(LayerId(n_layers));
            n_layers += usize::from(layer.is_some());
            let Some(grad) = self.grads.get(&entry.var) else { continue };
            let all = sum_of_squares(grad)?;
            let Some((layer, gate)) = layer.and_then(|id| Some((id, self.gates.get(id)?))) else {
                kept += all;
                continue;
            };
            let of_kept = with_values(&[grad], |g| squares(gate.mask.kept().map(|i| &g[0][i])))?;
            // The two sums round differently.
            let of_kept = of_kept.min(all);
            let factor = factor(gate, &entry.var);
            let dead = self.dead.get(layer.0).map_or(&[][..], Vec::as_slice);
            kept += of_kept;
            pruned.all += factor * (all - of_kept);
            pruned.dead += factor * dead_squares(Some(grad), dead)?;
        }
        Ok((kept, pruned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use std::sync::Arc;
    use taper_kernels::{mask::Mask, threshold::Threshold};
    use taper_nn::{Init, ParamKind, Sampling, Scope};

    /// Gradients of a convolution with three filters of two weights, and of its bias.
    fn gradients(conv: [f32; 6], bias: f32) -> Result<(Params, GradStore)> {
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        let weight = scope.param("conv.weight", (3, 1, 1, 2), ParamKind::ConvWeight, one)?;
        let shift = scope.param("conv.bias", 3, ParamKind::Bias, one)?;
        let slopes = Tensor::new(&conv, &Device::Cpu)?;
        let loss = ((weight.flatten_all()? * slopes)?.sum_all()?
            + shift.sum_all()?.affine(f64::from(bias), 0.0)?)?;
        Ok((scope.finish(), loss.backward()?))
    }

    /// Gates that keep the first and the last weight; the second filter is dead.
    fn gates(sampling: Option<Sampling>) -> Gates {
        let mut mask = Mask::empty(6);
        [0, 5].into_iter().for_each(|i| mask.set(i, true));
        Gates::new(vec![Some(Gate {
            value: Threshold::Hard.into(),
            cut: 0.5,
            mask: Arc::new(mask),
            live: None,
            sampling,
            grad_at_zero: 1.0,
            grad_at_cut: 1.0,
        })])
    }

    const DEAD: [usize; 1] = [1];

    fn norm(
        state: &mut PrunedSquares,
        (params, grads): &(Params, GradStore),
        gates: &Gates,
        update: PrunedUpdate,
        step: u64,
    ) -> Result<[f64; 2]> {
        let dead = [DEAD.to_vec()];
        let computed =
            Computed { params, grads, gates, dead: &dead, n_images: 64, choice: Choice::Measured };
        let norm = state.norm(&computed, update, Step(step))?;
        Ok([norm.all, norm.dead].map(|norm| norm * norm))
    }

    #[track_caller]
    fn assert_close(found: [f64; 2], wanted: [f64; 2]) {
        let is_close = |(f, w): (f64, f64)| (f - w).abs() < 1e-12 * (1.0 + w);
        assert!(found.into_iter().zip(wanted).all(is_close), "{found:?} {wanted:?}");
    }

    #[test]
    fn the_norm_of_dead_filters_is_separate() -> Result<()> {
        let (params, grads) = gradients([1.0, 2.0, 4.0, 4.0, 0.0, 2.0], 2.0)?;
        let norm = GradNorm::of(&params, &grads, &[DEAD.to_vec()])?;
        // 1 + 4 + 16 + 16 + 4 in the weights, and three times 4 in the bias.
        assert_eq!((norm.all, norm.dead), (53f64.sqrt(), 32f64.sqrt()));
        assert!((norm.live() - 21f64.sqrt()).abs() < 1e-12);
        assert!((norm.dead_share() - (32.0f64 / 53.0).sqrt()).abs() < 1e-12);
        assert_eq!(GradNorm::of(&params, &grads, &[])?.dead, 0.0);
        Ok(())
    }

    #[test]
    fn multiplied_gradients_count_once_and_are_used_until_the_next_nth_step() -> Result<()> {
        let (mut state, every, gates) =
            (PrunedSquares::default(), PrunedUpdate::EveryNth(4), gates(None));
        // The exact gradient is 1, 2, 4, 4, 0, 2; the gradients of the four pruned weights are multiplied by four.
        let counted = gradients([1.0, 8.0, 16.0, 16.0, 0.0, 2.0], 2.0)?;
        assert_close(norm(&mut state, &counted, &gates, every, 8)?, [53.0, 32.0]);
        assert_eq!(state, PrunedSquares { all: 36.0, dead: 32.0 });
        // The next steps have no gradient of pruned weights; the squares of kept weights and biases are 9 + 1 + 3.
        let without = gradients([3.0, 0.0, 0.0, 0.0, 0.0, 1.0], 1.0)?;
        for step in 9..12 {
            assert_close(norm(&mut state, &without, &gates, every, step)?, [13.0 + 36.0, 32.0]);
        }
        // A resumed run starts with the state in the checkpoint.
        let mut resumed = state;
        assert_eq!(
            norm(&mut resumed, &without, &gates, every, 11)?,
            norm(&mut state, &without, &gates, every, 11)?
        );
        let next = gradients([3.0, 4.0, 0.0, 4.0, 0.0, 1.0], 1.0)?;
        assert_close(norm(&mut state, &next, &gates, every, 12)?, [13.0 + 2.0, 1.0]);
        assert_close(norm(&mut state, &without, &gates, every, 13)?, [13.0 + 2.0, 1.0]);
        // Without gates nothing is pruned.
        let [all, dead] = norm(&mut state, &next, &Gates::NONE, every, 16)?;
        assert_close([all, dead], [9.0 + 16.0 + 16.0 + 1.0 + 3.0, 0.0]);
        assert_eq!(state, PrunedSquares::default());
        Ok(())
    }

    #[test]
    fn squares_of_sampled_gradients_are_multiplied_by_the_sampled_fraction() -> Result<()> {
        let sampled = PrunedUpdate::Sampled { share: 0.25, seed: 0 };
        let grads = gradients([1.0, 2.0, 4.0, 4.0, 0.0, 2.0], 2.0)?;
        let mut state = PrunedSquares::default();
        let of = |state: &mut PrunedSquares, share: Option<f64>| {
            let gates = gates(share.map(|share| Sampling { share, key: 1 }));
            norm(state, &grads, &gates, sampled, 3)
        };
        // One of four blocks: 17 from kept weights and the bias, and a quarter of 36 from pruned weights, 32 of it in
        // dead filters.
        assert_close(of(&mut state, Some(0.25))?, [17.0 + 9.0, 8.0]);
        assert_close(of(&mut state, Some(0.5))?, [17.0 + 18.0, 16.0]);
        // Exact gradients need no factor.
        assert_close(of(&mut state, None)?, [53.0, 32.0]);
        assert_eq!(state, PrunedSquares::default(), "sampling needs no state");
        Ok(())
    }

    #[test]
    fn exact_gradients_are_not_corrected() -> Result<()> {
        let grads = gradients([1.0, 2.0, 4.0, 4.0, 0.0, 2.0], 2.0)?;
        let whole = GradNorm::of(&grads.0, &grads.1, &[DEAD.to_vec()])?;
        for update in
            [PrunedUpdate::EveryStep, PrunedUpdate::EveryNth(1), PrunedUpdate::Live { margin: 1.0 }]
        {
            let found = norm(&mut PrunedSquares::default(), &grads, &gates(None), update, 1)?;
            assert_eq!(found, [whole.all, whole.dead].map(|norm| norm * norm), "{update:?}");
        }
        Ok(())
    }
}
