//! The second moment of a step: what a pruner does with gradients.

use crate::{
    Pruner,
    criterion::{Criterion, View},
    cut::Quantile,
    drop::zero_where,
    error::PruneError,
    pruner::LayerCut,
};
use candle_core::{Tensor, Var, backprop::GradStore};
use std::sync::Arc;
use taper_core::LayerId;
use taper_kernels::mask::Mask;
use taper_nn::ops::{tensor_like, with_values};

/// What a training loop has to do for a pruner before its optimizer moves the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The weights of each layer whose momentum, and whatever else an optimizer remembers of them, must go.
    pub forgotten: Option<Vec<Mask>>,
    /// Whether the gradients served to choose masks, and must move nothing in this step.
    pub is_skipped: bool,
}

impl Pruner {
    /// Swaps kept weights if this is a step to do so, gives pruned weights what their remainder adds to their gradient, and
    /// says what the optimizer has to do.
    ///
    /// Gradients are those of the loss in the dense weights, as the backward pass of a model with the gates of
    /// [`begin_step`](Self::begin_step) gives them; a layer without one has been left out of the loss.
    ///
    /// # Errors
    /// [`PruneError::Candle`] if a gradient cannot be read or written.
    pub fn after_backward(&mut self, grads: &mut GradStore) -> Result<Changed, PruneError> {
        let is_skipped = self.reads_gradients();
        if self.is_pending {
            self.is_pending = false;
            self.choose_by(grads)?;
        } else if let Some(share) = self.swap_share() {
            self.swap(share, grads)?;
        }
        if self.choices.remainder.decay > 0.0 {
            self.decay(grads)?;
        }
        if self.choices.remainder.penalty > 0.0 {
            self.penalise(grads)?;
        }
        Ok(Changed { forgotten: self.forgotten.clone(), is_skipped })
    }

    /// What [`after_backward`](Self::after_backward) says of the step last begun so far: the weights of each layer that an
    /// optimizer has to forget.
    pub fn forgotten(&self) -> Option<&[Mask]> {
        self.forgotten.as_deref()
    }

    /// Whether the step begun is one whose gradients choose masks: then that of pruned weights is computed whole.
    pub(crate) fn reads_gradients(&self) -> bool {
        let grows_by_gradient =
            || self.choices.renewal.grows_by().is_some_and(Criterion::needs_gradient);
        let is_swap = self.swap_share().is_some();
        self.is_pending
            || is_swap && (self.choices.criterion.needs_gradient() || grows_by_gradient())
    }

    /// The share of kept weights that the step begun swaps, once there are any masks.
    fn swap_share(&self) -> Option<f64> {
        self.choices.renewal.swaps(self.step).filter(|_| !self.sparsity.is_dense())
    }

    /// Chooses the masks that [`begin_step`](Self::begin_step) has left to the gradients.
    fn choose_by(&mut self, grads: &GradStore) -> Result<(), PruneError> {
        let gradients = self.gradients(grads)?;
        let are_first = self.cut.iter().all(|cut| cut.mask.n_kept() == cut.mask.len() as u64);
        let begins_by = self.choices.renewal.begins_by().filter(|_| are_first);
        let criterion = begins_by.unwrap_or(&*self.choices.criterion);
        let cut = self.choose(self.sparsity, criterion, Some(&gradients))?;
        self.replace(cut)
    }

    /// Swaps this share of each layer's kept weights.
    fn swap(&mut self, share: f64, grads: &mut GradStore) -> Result<(), PruneError> {
        let gradients = self.gradients(grads)?;
        let Some(grow) = self.choices.renewal.grows_by() else { return Ok(()) };
        let tensors: Vec<&Tensor> = self.vars().map(|var| var.as_tensor()).collect();
        let masks = with_values(&tensors, |weights| {
            let layers = weights.iter().zip(&self.cut).enumerate();
            let masks = layers.map(|(i, (weights, cut))| {
                let view = self.view(LayerId(i), weights, Some(&gradients));
                let open = match &self.dropped {
                    Some(dropped) => Mask::full(weights.len()).difference(&dropped[i]),
                    None => Mask::full(weights.len()),
                };
                swapped(&view, &cut.mask, &open, share, &*self.choices.criterion, grow)
            });
            masks.collect::<Vec<Mask>>()
        })?;
        let cut = self.cut.iter().zip(masks);
        let cut = cut.map(|(cut, mask)| LayerCut { at: cut.at, mask: Arc::new(mask) }).collect();
        self.replace(cut)?;
        // What has left would be moved by the gradient that it had in this step.
        for (left, var) in self.forgotten.iter().flatten().zip(self.vars()) {
            if left.n_kept() > 0 {
                change(grads, var, |grad| left.kept().for_each(|index| grad[index] = 0.0))?;
            }
        }
        Ok(())
    }

    /// Adds the decay of pruned weights to their gradient.
    fn decay(&self, grads: &mut GradStore) -> Result<(), PruneError> {
        let lambda = self.choices.remainder.decay;
        for (cut, var) in self.cut.iter().zip(self.vars()) {
            let pruned = Mask::full(cut.mask.len()).difference(&cut.mask);
            with_values(&[var.as_tensor()], |w| {
                change(grads, var, |grad| {
                    pruned.kept().for_each(|i| grad[i] = lambda.mul_add(w[0][i], grad[i]));
                })
            })??;
        }
        Ok(())
    }

    /// The gradient of each layer, 0 where it has none.
    fn gradients(&self, grads: &GradStore) -> Result<Vec<Vec<f32>>, PruneError> {
        let layers = self.vars().map(|var| match grads.get(var) {
            Some(grad) => with_values(&[grad], |g| g[0].to_vec()),
            None => Ok(vec![0.0; var.elem_count()]),
        });
        Ok(layers.collect::<candle_core::Result<_>>()?)
    }

    /// A layer as criteria see it.
    pub(crate) fn view<'a>(
        &'a self,
        id: LayerId,
        weights: &'a [f32],
        gradients: Option<&'a [Vec<f32>]>,
    ) -> View<'a> {
        let info = &self.choices.layers[id.0].0;
        let gradient = gradients.map(|gradients| &gradients[id.0][..]);
        View { id, info, weights, gradient, step: self.step }
    }

    /// Takes new masks in the middle of a step, and puts what has left to 0 if that is what becomes of pruned weights.
    fn replace(&mut self, cut: Vec<LayerCut>) -> Result<(), PruneError> {
        let before = std::mem::replace(&mut self.cut, cut);
        self.feedback = Some(self.changed_since(before.iter().map(|cut| &*cut.mask)));
        self.follow(&before);
        self.zero_pruned(&before)
    }

    /// Where pruned weights are 0: puts those that have left since to 0. An optimizer forgets them, and those that enter.
    pub(crate) fn zero_pruned(&mut self, before: &[LayerCut]) -> Result<(), PruneError> {
        if !self.choices.remainder.is_zero {
            return Ok(());
        }
        let changed = self.cut.iter().zip(before).map(|(now, before)| {
            let left = before.mask.difference(&now.mask);
            left.union(&now.mask.difference(&before.mask))
        });
        let changed: Vec<Mask> = changed.collect();
        self.hold_zeros()?;
        if changed.iter().any(|mask| mask.n_kept() > 0) {
            self.forget(changed);
        }
        Ok(())
    }

    /// Adds to what an optimizer has to forget in this step.
    pub(crate) fn forget(&mut self, weights: Vec<Mask>) {
        self.forgotten = Some(match self.forgotten.take() {
            Some(others) => others.iter().zip(&weights).map(|(a, b)| a.union(b)).collect(),
            None => weights,
        });
    }

    /// Puts weights that are to be 0 back there, should an optimizer with a momentum of its own have moved them: dropped
    /// ones, and pruned ones if that is what becomes of them.
    pub(crate) fn hold_zeros(&self) -> Result<(), PruneError> {
        for (dropped, var) in self.dropped.iter().flatten().zip(self.vars()) {
            zero_where(dropped, var)?;
        }
        if self.choices.remainder.is_zero {
            for (cut, var) in self.cut.iter().zip(self.vars()) {
                zero_where(&Mask::full(cut.mask.len()).difference(&cut.mask), var)?;
            }
        }
        Ok(())
    }
}

/// Changes the gradient of a variable, if it has one.
pub(crate) fn change(
    grads: &mut GradStore,
    var: &Var,
    change: impl FnOnce(&mut [f32]),
) -> candle_core::Result<()> {
    if let Some(grad) = grads.get(var) {
        let mut values = with_values(&[grad], |g| g[0].to_vec())?;
        change(&mut values);
        let grad = tensor_like(values, grad)?;
        grads.insert(var, grad);
    }
    Ok(())
}

/// The mask of a layer in which a share of what was kept has been swapped: the weights of the lowest score leave, and of all
/// that is open and not retained, those of the highest score by `grow` enter. What has just left may come back.
fn swapped(
    view: &View,
    kept: &Mask,
    open: &Mask,
    share: f64,
    criterion: &dyn Criterion,
    grow: &dyn Criterion,
) -> Mask {
    let n_kept = kept.n_kept();
    let n_swapped =
        ((share * n_kept as f64).floor() as u64).min(open.n_kept().saturating_sub(n_kept));
    if n_swapped == 0 {
        return kept.clone();
    }
    let retained = best(&criterion.scores(view), kept, n_kept - n_swapped);
    let entering = best(&grow.scores(view), &open.difference(&retained), n_swapped);
    retained.union(&entering)
}

/// The `n` weights among these whose scores have the largest magnitude; of equal ones, those of the lower index.
fn best(scores: &[f32], among: &Mask, n: u64) -> Mask {
    let ranked: Vec<f32> = among.kept().map(|index| scores[index]).collect();
    let chosen = Quantile::Exact.choose(&[&ranked], n, 0.0).masks.swap_remove(0);
    let mut found = Mask::empty(among.len());
    for (place, index) in among.kept().enumerate() {
        if chosen.is_kept(place) {
            found.set(index, true);
        }
    }
    found
}
