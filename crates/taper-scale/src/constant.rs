//! The same factor throughout training.

use crate::{GradientScale, Now, PrunedGrad};
use std::fmt;

/// Gives every pruned weight the factor θ at every step; 1 is the plain straight-through estimator, 0 lets a
/// pruned weight rest.
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
    /// [`ConstantError`] outside that range, or for NaN.
    pub fn new(theta: f32) -> Result<Self, ConstantError> {
        if (0.0..=1.0).contains(&theta) { Ok(Self(theta)) } else { Err(ConstantError { theta }) }
    }
}

impl GradientScale for Constant {
    fn at(&self, _now: &Now) -> PrunedGrad {
        PrunedGrad::uniform(self.0)
    }
}

/// A factor outside `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstantError {
    theta: f32,
}

impl fmt::Display for ConstantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gradient factor {} of pruned weights is outside [0, 1]", self.theta)
    }
}

impl std::error::Error for ConstantError {}

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
            assert!(message.contains("[0, 1]"), "{message}");
        }
    }
}
