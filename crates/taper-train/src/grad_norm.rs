//! The norm of the gradient, which clipping goes by.
//!
//! It is that of the gradient that exact training has, as far as a step can know it, so that kept weights are clipped as
//! they are there. What is computed for pruned weights may differ from it ([`PrunedUpdate`]): it is counted several
//! times, left out, or estimated.

use crate::clip::filter_size;
use candle_core::{Result, Tensor, Var, backprop::GradStore};
use taper_core::{LayerId, Step};
use taper_nn::{
    Gate, Gates, Params,
    ops::{choice::Choice, sampled_share, sum_of_squares, with_values},
};
use taper_prune::PrunedUpdate;

/// L2 norm of the gradients of all trained parameters, and how much of it is in dead filters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradNorm {
    /// Of all trained parameters.
    pub all: f64,
    /// Of the weights of dead filters.
    pub dead: f64,
}

impl GradNorm {
    /// Of the gradients as they are. Sums squares in f64 and in registry order. `dead` has the dead filters of each
    /// prunable layer; it may be empty.
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
        // Their own sum rounds otherwise, which must not make a part larger than the whole.
        Ok(Self { all: all.sqrt(), dead: squares.min(all).sqrt() })
    }

    /// Norm outside of dead filters.
    pub fn live(&self) -> f64 {
        (self.all * self.all - self.dead * self.dead).max(0.0).sqrt()
    }

    /// Share of the norm that is in dead filters, in `[0, 1]`; 0 without a gradient.
    pub fn dead_share(&self) -> f64 {
        if self.all > 0.0 { self.dead / self.all } else { 0.0 }
    }
}

/// Sum of the squares in these filters.
fn dead_squares(grad: Option<&Tensor>, dead: &[usize]) -> Result<f64> {
    let Some(grad) = grad.filter(|_| !dead.is_empty()) else { return Ok(0.0) };
    let size = filter_size(grad);
    with_values(&[grad], |g| squares(dead.iter().flat_map(|f| &g[0][f * size..(f + 1) * size])))
}

fn squares<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    values.map(|&g| f64::from(g) * f64::from(g)).sum()
}

/// A step's gradients, and what they were computed with.
pub(crate) struct Computed<'a> {
    pub(crate) params: &'a Params,
    pub(crate) grads: &'a GradStore,
    pub(crate) gates: &'a Gates,
    /// The dead filters of each prunable layer; may be empty.
    pub(crate) dead: &'a [Vec<usize>],
    pub(crate) n_images: usize,
    /// How the layers of the pass choose.
    pub(crate) choice: Choice,
}

/// Squared norms of the exact gradient of pruned weights in the last step that computed it: what stands in for it until
/// the next one with [`PrunedUpdate::EveryNth`]. Part of a run's state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PrunedSquares {
    /// Of all pruned weights.
    pub all: f64,
    /// Of those in dead filters.
    pub dead: f64,
}

impl PrunedSquares {
    /// The norm that the gradient of exact training has.
    ///
    /// - With `EveryNth(n)` the gradient of pruned weights is computed in every n-th step, and counts n times; there their
    ///   squares are divided by n². In the steps between it is unknown, and that of the last n-th step is taken: the norm
    ///   changes little over a few steps, and left out it would let kept weights move further in n − 1 steps of n.
    /// - With `Sampled` it is a sum over m of n blocks, times n/m, whose squares are inflated by its variance. They are
    ///   multiplied by m/n: right on average where the gradients of blocks are uncorrelated, too little where they agree,
    ///   too much where they cancel.
    /// - Otherwise the gradients are taken as they are: weights that get none with `Live`, as dropped ones, are no part of
    ///   what is trained in the step.
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

    /// The norm of these and of all other gradients, whose squares are `kept`.
    fn beside(self, kept: f64) -> GradNorm {
        GradNorm { all: (kept + self.all).sqrt(), dead: self.dead.min(self.all).sqrt() }
    }
}

impl Computed<'_> {
    /// Squares of all gradients but those of pruned weights, and of these, times the factor of their layer.
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
            // Their own sum rounds otherwise.
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

    /// Gradients of a convolution of three filters of two weights, and of its bias.
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

    /// Keeps the first weight and the last; the second filter is dead.
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
    fn the_part_in_dead_filters_is_told_apart() -> Result<()> {
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
    fn what_counts_several_times_counts_once_and_stands_in_until_the_next_time() -> Result<()> {
        let (mut state, every, gates) =
            (PrunedSquares::default(), PrunedUpdate::EveryNth(4), gates(None));
        // The exact gradient is 1, 2, 4, 4, 0, 2; that of the pruned four counts four times.
        let counted = gradients([1.0, 8.0, 16.0, 16.0, 0.0, 2.0], 2.0)?;
        assert_close(norm(&mut state, &counted, &gates, every, 8)?, [53.0, 32.0]);
        assert_eq!(state, PrunedSquares { all: 36.0, dead: 32.0 });
        // In the next steps there is none of pruned weights; kept weights and biases have 9 + 1 + 3.
        let without = gradients([3.0, 0.0, 0.0, 0.0, 0.0, 1.0], 1.0)?;
        for step in 9..12 {
            assert_close(norm(&mut state, &without, &gates, every, step)?, [13.0 + 36.0, 32.0]);
        }
        // A resumed run has the state of a checkpoint.
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
    fn what_is_scaled_up_from_a_sample_counts_by_its_share() -> Result<()> {
        let sampled = PrunedUpdate::Sampled { share: 0.25, seed: 0 };
        let grads = gradients([1.0, 2.0, 4.0, 4.0, 0.0, 2.0], 2.0)?;
        let mut state = PrunedSquares::default();
        let of = |state: &mut PrunedSquares, share: Option<f64>| {
            let gates = gates(share.map(|share| Sampling { share, key: 1 }));
            norm(state, &grads, &gates, sampled, 3)
        };
        // Of four blocks one: 17 of what is kept and of the bias, a quarter of 36, of which 32 is dead.
        assert_close(of(&mut state, Some(0.25))?, [17.0 + 9.0, 8.0]);
        assert_close(of(&mut state, Some(0.5))?, [17.0 + 18.0, 16.0]);
        // Exact gradients count whole.
        assert_close(of(&mut state, None)?, [53.0, 32.0]);
        assert_eq!(state, PrunedSquares::default(), "each step measures its own");
        Ok(())
    }

    #[test]
    fn exact_gradients_are_taken_as_they_are() -> Result<()> {
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
