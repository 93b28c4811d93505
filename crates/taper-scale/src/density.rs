//! A factor that falls with the density.

use crate::{GradientScale, Now, OutOfRange, PrunedGrad};

/// `max(end, (1 − s)^q)`: a power of the density, with a lower bound.
///
/// ```
/// use taper_core::Sparsity;
/// use taper_scale::{Density, GradientScale, Now};
///
/// let policy = Density::new(0.1, 1.0)?;
/// let theta = |s| {
///     let achieved = Sparsity::saturating(s);
///     policy.at(&Now { achieved, target: achieved, progress: 0.0 }).at_zero
/// };
/// assert_eq!([theta(0.0), theta(0.75), theta(0.99)], [1.0, 0.25, 0.1]);
/// # Ok::<(), taper_scale::OutOfRange>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Density {
    q: f64,
    end: f64,
}

impl Density {
    /// `end` is the smallest factor, in `[0, 1]`; `q` is the power, in `[0.001, 1000]`.
    ///
    /// # Errors
    /// [`OutOfRange`] if a parameter is outside its range.
    pub fn new(end: f64, q: f64) -> Result<Self, OutOfRange> {
        let end = OutOfRange::factor("the last θ", end)?;
        Ok(Self { q: OutOfRange::positive("q", q)?, end })
    }
}

impl GradientScale for Density {
    fn at(&self, now: &Now) -> PrunedGrad {
        PrunedGrad::uniform(libm::pow(now.achieved.density(), self.q).max(self.end) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use taper_core::Sparsity;

    proptest! {
        #[test]
        fn the_density_policy_is_in_range_and_never_rises(
            q in 1e-3..1e3f64, end in 0.0..=1.0f64, a in 0.0..=1.0f64, b in 0.0..=1.0f64,
        ) {
            let policy = Density::new(end, q).unwrap();
            let theta = |s| {
                let (achieved, target) = (Sparsity::saturating(s), Sparsity::saturating(1.0));
                policy.at(&Now { achieved, target, progress: 0.0 }).at_zero
            };
            let (first, then) = (theta(a.min(b)), theta(a.max(b)));
            prop_assert!(then <= first && first <= 1.0 && then >= end as f32);
            prop_assert_eq!((theta(0.0), theta(1.0)), (1.0, end as f32));
        }
    }

    #[test]
    fn impossible_parameters_are_refused_with_their_range() {
        let message = |end, q| Density::new(end, q).unwrap_err().to_string();
        assert_eq!(message(0.5, 0.0), "q is 0, outside [0.001, 1000]");
        assert_eq!(message(-0.1, 1.0), "the last θ is -0.1, outside [0, 1]");
    }
}
