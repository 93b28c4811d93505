//! From masks to gates: which weights get which gradient.

use crate::{
    DeadFilters, PrunedUpdate, Pruner, Quantile,
    dead::{Filters, dead_filters},
    error::PruneError,
    pruner::LayerCut,
};
use candle_core::{Tensor, Var};
use std::sync::Arc;
use taper_core::{LayerId, Sparsity, rng::Rng};
use taper_kernels::mask::Mask;
use taper_nn::{Gate, Gates, Sampling, ops::with_values};
use taper_scale::PrunedGrad;

/// Which weights of a layer get a gradient in a step, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Update {
    /// `None` for all.
    pub(crate) live: Option<Arc<Mask>>,
    sampling: Option<Sampling>,
}

impl Update {
    fn of_live(live: Arc<Mask>) -> Self {
        Self { live: Some(live), sampling: None }
    }

    /// Weights that get a gradient.
    pub(crate) fn n_live(&self, var: &Var) -> u64 {
        self.live.as_ref().map_or(var.elem_count() as u64, |live| live.n_kept())
    }

    /// Gives these weights none.
    fn leave_out(&mut self, weights: &Mask) {
        if weights.n_kept() > 0 {
            let live = match &self.live {
                Some(live) => live.difference(weights),
                None => Mask::full(weights.len()).difference(weights),
            };
            self.live = Some(Arc::new(live));
        }
    }
}

impl Pruner {
    /// Where the gradients of pruned weights come from in the step begun, and how many times they count.
    pub(crate) fn updates(&self) -> Result<(Vec<Update>, f32), PruneError> {
        let all = |update: Update| vec![update; self.cut.len()];
        if self.reads_gradients() {
            return Ok((all(Update::default()), 1.0));
        }
        if self.choices.remainder.is_zero {
            return Ok((self.of_kept(), 1.0));
        }
        let (mut updates, times) = match self.choices.remainder.update {
            PrunedUpdate::EveryStep => (all(Update::default()), 1.0),
            PrunedUpdate::EveryNth(n) if self.step.0.is_multiple_of(n) => {
                (all(Update::default()), n as f32)
            }
            PrunedUpdate::EveryNth(_) => (self.of_kept(), 1.0),
            PrunedUpdate::Sampled { share, seed } => {
                let key = Rng::for_key([seed, self.step.0]).next_u64();
                let sampling = Some(Sampling { share, key });
                (all(Update { sampling, ..Update::default() }), 1.0)
            }
            PrunedUpdate::Live { margin } => (self.live(margin)?, 1.0),
        };
        for (update, dropped) in updates.iter_mut().zip(self.dropped.iter().flatten()) {
            update.leave_out(dropped);
        }
        if self.choices.dead_filters == DeadFilters::Silent {
            for (i, update) in updates.iter_mut().enumerate() {
                update.leave_out(&self.silent(LayerId(i)));
            }
        }
        Ok((updates, times))
    }

    /// Gradients of kept weights alone.
    fn of_kept(&self) -> Vec<Update> {
        self.cut.iter().map(|cut| Update::of_live(cut.mask.clone())).collect()
    }

    /// The weights of a layer's dead filters.
    fn silent(&self, layer: LayerId) -> Mask {
        let ((info, _), cut) = (&self.choices.layers[layer.0], &self.cut[layer.0]);
        let mut silent = Mask::empty(cut.mask.len());
        let filters = Filters::of(info);
        let dead = dead_filters(info, &cut.mask).into_iter();
        dead.flat_map(|filter| filters.weights(filter))
            .flatten()
            .for_each(|index| silent.set(index, true));
        silent
    }

    /// The kept weights and the largest pruned ones, as many as `margin` times the kept ones of their group.
    fn live(&self, margin: f64) -> Result<Vec<Update>, PruneError> {
        let groups =
            if self.sparsity.is_dense() { Vec::new() } else { self.groups(self.sparsity)? };
        let tensors: Vec<&Tensor> = self.vars().map(|var| var.as_tensor()).collect();
        Ok(with_values(&tensors, |weights| {
            let mut updates = vec![Update::default(); weights.len()];
            for group in groups {
                let layers: Vec<&[f32]> = group.layers.iter().map(|id| weights[id.0]).collect();
                let n_live = (group.n_keep as f64 * (1.0 + margin)).ceil() as u64;
                let near = Quantile::Exact.choose(&layers, n_live, 0.0).masks;
                for (id, near) in group.layers.iter().zip(near) {
                    // Held masks may keep weights that are not among the largest any more.
                    let live = near.union(&self.cut[id.0].mask);
                    updates[id.0] = Update::of_live(Arc::new(live));
                }
            }
            updates
        })?)
    }

    pub(crate) fn gates(&self, cut: &[LayerCut], updates: Vec<Update>, times: f32) -> Gates {
        // Where gradients choose masks, pruned weights must have theirs whole.
        let of_all = match self.reads_gradients() {
            true => PrunedGrad::uniform(1.0),
            false => self.pruned_grad(),
        };
        let is_per_layer = self.choices.remainder.gradient.is_per_layer();
        let gate = |(cut, update): (&LayerCut, Update)| {
            let PrunedGrad { at_zero, at_cut } = match is_per_layer {
                true => self.pruned_grad_at(Sparsity::of(cut.mask.n_kept(), cut.mask.len() as u64)),
                false => of_all,
            };
            // A layer that keeps all its weights above a cut is still shrunk by it.
            (cut.at > 0.0 || cut.mask.n_kept() < cut.mask.len() as u64).then(|| Gate {
                threshold: self.choices.threshold,
                cut: cut.at,
                mask: cut.mask.clone(),
                live: update.live,
                sampling: update.sampling,
                grad_at_zero: times * at_zero,
                grad_at_cut: times * at_cut,
            })
        };
        Gates::new(cut.iter().zip(updates).map(gate).collect())
    }
}
