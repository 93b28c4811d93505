//! The loss that a weight's removal costs, by the squares of its gradients.

use super::{Criterion, View, ema::average, of_both};
use std::borrow::Cow;

/// `|w|·√v`, which ranks as `w²·v` does, with the exponential moving average of squared gradients `v ← β·v + (1 − β)·g²`: to second
/// order, and with the diagonal of the empirical Fisher matrix for the Hessian, what the loss rises by without the weight.
///
/// # References
/// JaxPruner's `adam-fisher` (arXiv:2304.14082), which takes v from AdamW; this one keeps its own, whatever the optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fisher {
    /// Share of the average that stays in a step, in `[0, 1)`.
    pub beta: f32,
}

impl Default for Fisher {
    /// β = 0.999, as of AdamW.
    fn default() -> Self {
        Self { beta: 0.999 }
    }
}

impl Criterion for Fisher {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |weight, mean| weight.abs() * mean.sqrt())
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, memory: &mut [f32], layer: &View) {
        let squares = layer.gradient.unwrap_or_default().iter().map(|g| g * g);
        average(self.beta, memory, squares);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{remembered, scores};
    use super::*;

    #[test]
    fn small_weights_of_large_gradients_count() {
        let fisher = Fisher { beta: 0.5 };
        let (weights, gradients) = ([&[9.0, 9.0][..]; 2], [&[-8.0, 0.0][..], &[0.0, 4.0]]);
        let memory = remembered(&fisher, &weights, &gradients);
        assert_eq!(memory, [16.0, 8.0]);
        let weights = [-0.5, 1.0];
        assert_eq!(scores(&fisher, &weights, &memory, 0), [2.0, 8f32.sqrt()]);
    }
}
