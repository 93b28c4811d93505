//! A constant factor.

use crate::{GradientScale, Now, OutOfRange, PrunedGrad};

/// The same factor θ for every pruned weight at every step. θ = 1 is the plain straight-through estimator; with θ = 0,
/// pruned weights receive no gradient.
///
/// ```
/// use taper_scale::Constant;
/// assert!(Constant::new(1.0).is_ok());
/// assert!(Constant::new(1.5).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant(f32);

impl Constant {
    /// θ in `[0, 1]`.
    ///
    /// # Errors
    /// [`OutOfRange`] if θ is outside that range or NaN.
    pub fn new(theta: f32) -> Result<Self, OutOfRange> {
        OutOfRange::factor("θ", theta.into()).map(|_| Self(theta))
    }
}

impl GradientScale for Constant {
    fn at(&self, _now: &Now) -> PrunedGrad {
        PrunedGrad::uniform(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use taper_core::Sparsity;

    proptest! {
        #[test]
        fn the_factor_never_changes(theta in 0.0f32..=1.0, achieved in 0.0..=1.0, progress in 0.0..=1.0) {
            let now = Now { achieved: Sparsity::saturating(achieved), target: Sparsity::DENSE, progress };
            prop_assert_eq!(Constant::new(theta).unwrap().at(&now), PrunedGrad::uniform(theta));
        }
    }

    #[test]
    fn factors_outside_the_unit_interval_are_refused() {
        for theta in [-0.1, 1.1, f32::NAN] {
            let message = Constant::new(theta).unwrap_err().to_string();
            assert!(message.contains("outside [0, 1]"), "{message}");
        }
    }
}
