//! Feather's rule.

use crate::{GradientScale, Now, PrunedGrad};

/// θ = 0.5 if the *final* target exceeds 95 %, else 1; constant in time.
///
/// ```
/// use taper_core::Sparsity;
/// use taper_scale::{FeatherRule, GradientScale, Now};
/// let theta = |target: f64| {
///     let target = Sparsity::new(target).unwrap();
///     FeatherRule.at(&Now { achieved: Sparsity::DENSE, target, progress: 0.0 }).at_zero
/// };
/// assert_eq!(theta(0.95), 1.0);
/// assert_eq!(theta(0.9500001), 0.5);
/// ```
///
/// # References
/// Feather (arXiv:2310.02448), section 3.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatherRule;

impl GradientScale for FeatherRule {
    fn at(&self, now: &Now) -> PrunedGrad {
        PrunedGrad::uniform(if now.target.get() > 0.95 { 0.5 } else { 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_core::Sparsity;

    #[test]
    fn only_the_final_target_matters() {
        for achieved in [0.0, 0.5, 0.99] {
            let now = |target| Now {
                achieved: Sparsity::saturating(achieved),
                target: Sparsity::saturating(target),
                progress: achieved,
            };
            assert_eq!(FeatherRule.at(&now(0.95)).at_zero, 1.0);
            assert_eq!(FeatherRule.at(&now(0.96)).at_cut, 0.5);
        }
    }
}
