//! The penalty on weights that learn.

use crate::{Pruner, error::PruneError, grads::change};
use candle_core::backprop::GradStore;
use taper_kernels::mask::Mask;
use taper_nn::ops::with_values;

impl Pruner {
    /// Adds `λ·w` to the gradient of kept weights, and `λ/D·w` to that of pruned weights that learn, with D the density.
    pub(crate) fn penalise(&self, grads: &mut GradStore) -> Result<(), PruneError> {
        let lambda = self.choices.remainder.penalty;
        let density = (1.0 - self.sparsity.get()).max(f64::MIN_POSITIVE);
        let of_pruned = (f64::from(lambda) / density) as f32;
        for ((var, cut), live) in self.choices.vars().zip(&self.cut).zip(&self.live) {
            let kept = &*cut.mask;
            let learning = match live {
                Some(live) => live.difference(kept),
                None => Mask::full(kept.len()).difference(kept),
            };
            with_values(&[var.as_tensor()], |w| {
                change(grads, var, |grad| {
                    kept.kept().for_each(|i| grad[i] = lambda.mul_add(w[0][i], grad[i]));
                    learning.kept().for_each(|i| grad[i] = of_pruned.mul_add(w[0][i], grad[i]));
                })
            })??;
        }
        Ok(())
    }
}
