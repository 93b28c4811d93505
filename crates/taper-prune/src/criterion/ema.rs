//! Moving average of the gradient.

use super::{Criterion, View, of_both};
use std::borrow::Cow;

/// The exponential moving average of the gradient, `m ← β·m + (1 − β)·g`. As a growth criterion, it replaces the
/// gradient of one batch if that is too noisy.
///
/// # References
/// Dettmers and Zettlemoyer, "Sparse Networks from Scratch" (arXiv:1907.04840), who use the momentum of the optimizer;
/// RigL's `momentum`, which keeps a separate average, like this criterion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientEma {
    /// EMA coefficient β, in `[0, 1)`.
    pub beta: f32,
}

impl Default for GradientEma {
    /// β = 0.9.
    fn default() -> Self {
        Self { beta: 0.9 }
    }
}

/// Rejects an EMA coefficient out of range.
pub(super) fn check_coefficient(beta: f32) -> Result<(), String> {
    match (0.0..1.0).contains(&beta) {
        true => Ok(()),
        false => Err(format!("the EMA coefficient is {beta}, outside [0, 1)")),
    }
}

/// Updates a moving average, element by element.
pub(super) fn average(beta: f32, mean: &mut [f32], values: impl Iterator<Item = f32>) {
    for (mean, value) in mean.iter_mut().zip(values) {
        *mean = beta.mul_add(*mean, (1.0 - beta) * value);
    }
}

impl Criterion for GradientEma {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |_, mean| mean)
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, memory: &mut [f32], layer: &View) {
        average(self.beta, memory, layer.gradient.unwrap_or_default().iter().copied());
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
    fn gradients_are_averaged() {
        let ema = GradientEma { beta: 0.5 };
        let memory = remembered(&ema, &[&[9.0, 9.0], &[9.0, 9.0]], &[&[4.0, -2.0], &[1.0, 1.0]]);
        assert_eq!(memory, [1.5, 0.0]);
        assert_eq!(scores(&ema, &[9.0, 9.0], &memory, 0), memory);
        assert!(!ema.needs_gradient());
    }
}
