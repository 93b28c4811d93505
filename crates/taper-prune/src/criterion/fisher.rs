//! Increase of the loss without a weight, estimated from squared gradients.

use super::{
    Criterion, View,
    ema::{average, check_coefficient},
    of_both,
};
use std::borrow::Cow;

/// `|w|·√v`, which ranks like `w²·v`. Here v is the exponential moving average of squared gradients,
/// `v ← β·v + (1 − β)·g²`. To second order, and with the diagonal of the empirical Fisher matrix in place of the
/// Hessian, the score ranks weights by the increase of the loss without them.
///
/// # References
/// JaxPruner's `adam-fisher` (arXiv:2304.14082), which uses the v of AdamW. This criterion keeps its own v, for any
/// optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fisher {
    /// EMA coefficient β, in `[0, 1)`.
    pub beta: f32,
}

impl Default for Fisher {
    /// β = 0.999, as in AdamW.
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

    fn check(&self) -> Result<(), String> {
        check_coefficient(self.beta)
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
