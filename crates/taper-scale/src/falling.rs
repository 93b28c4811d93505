//! Factors that fall as the sparsity rises.

use crate::{GradientScale, Now, OutOfRange, PrunedGrad};
use taper_core::Sparsity;

/// Shape of a falling factor: a function of `x` in `[0, 1]` from 1 to `end` that never rises.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fall {
    /// `1 − (1 − end)·x`.
    Linear,
    /// `1 − (1 − end)·x^q`, `q` in `[0.001, 1000]`: with a large `q` the factor falls late, with `q` below 1 early.
    Power(f64),
    /// `end + (1 − end)·(1 + cos πx)/2`.
    Cosine,
    /// `end^x`.
    Exponential,
    /// A logistic function around `centre`, shifted and scaled to be exact at both ends.
    Sigmoid {
        /// In `[0.001, 1000]`.
        steepness: f64,
        /// In `[0, 1]`.
        centre: f64,
    },
}

impl Fall {
    fn check(self) -> Result<(), OutOfRange> {
        match self {
            Self::Power(q) => OutOfRange::positive("q", q).map(|_| ()),
            Self::Sigmoid { steepness, centre } => {
                OutOfRange::positive("steepness", steepness)?;
                OutOfRange::factor("centre", centre).map(|_| ())
            }
            Self::Linear | Self::Cosine | Self::Exponential => Ok(()),
        }
    }

    /// The factor at `x` in `[0, 1]`: 1 at 0, `end` at 1.
    fn at(self, x: f64, end: f64) -> f64 {
        if x <= 0.0 {
            return 1.0;
        }
        if x >= 1.0 {
            return end;
        }
        let fallen = match self {
            Self::Exponential => return libm::pow(end, x),
            Self::Linear => x,
            Self::Power(q) => libm::pow(x, q),
            Self::Cosine => (1.0 - libm::cos(std::f64::consts::PI * x)) / 2.0,
            Self::Sigmoid { steepness, centre } => {
                // tanh does not overflow where the exponential would.
                let at = |x: f64| libm::tanh(steepness * (x - centre) / 2.0);
                ((at(x) - at(0.0)) / (at(1.0) - at(0.0))).clamp(0.0, 1.0)
            }
        };
        1.0 - (1.0 - end) * fallen
    }
}

/// The variable that a factor falls with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// The current sparsity, from the sparsity at which pruning begins to the final one.
    #[default]
    Sparsity,
    /// The fraction of training steps done, which is below 1 even in the last step. This is a control: it shows whether
    /// the sparsity matters or only the time.
    Training,
}

/// A factor that falls from 1 to `end`:
///
/// ```text
/// θ = fall(x)      x = (s − s₀)/(s_final − s₀), clamped to [0, 1]
/// ```
///
/// Here s is the current sparsity and s₀ the sparsity at which pruning begins. Pruned weights receive much gradient
/// early in training, when they should still be able to return, and less as the sparsity rises and the mask should
/// settle. With `end` = 1 this is the plain straight-through estimator, like Feather's rule up to 95 %.
///
/// ```
/// use taper_core::Sparsity;
/// use taper_scale::{Fall, Falling, GradientScale, Now};
///
/// let policy = Falling::new(Fall::Linear, 0.5)?;
/// let theta = |achieved: f64| {
///     let (achieved, target) = (Sparsity::saturating(achieved), Sparsity::saturating(0.8));
///     policy.at(&Now { achieved, target, progress: 0.0 }).at_zero
/// };
/// assert_eq!([theta(0.0), theta(0.4), theta(0.8)], [1.0, 0.75, 0.5]);
/// # Ok::<(), taper_scale::OutOfRange>(())
/// ```
///
/// # References
/// A. Zachou (NTUA, 2025) proposed a gradient scale that follows the current sparsity; this family is ours. AutoSparse
/// anneals over time instead ([`Over::Training`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Falling {
    fall: Fall,
    end: f64,
    start: Sparsity,
    over: Over,
}

impl Falling {
    /// Falls to `end`, in `[0, 1]`, as the sparsity rises.
    ///
    /// # Errors
    /// [`OutOfRange`] if `end` or a parameter of `fall` is outside its range.
    pub fn new(fall: Fall, end: f64) -> Result<Self, OutOfRange> {
        fall.check()?;
        let end = OutOfRange::factor("the last θ", end)?;
        Ok(Self { fall, end, start: Sparsity::DENSE, over: Over::Sparsity })
    }

    /// Sets the sparsity at which pruning begins; the default is 0. It has no effect on [`Over::Training`].
    #[must_use]
    pub fn starting_at(self, start: Sparsity) -> Self {
        Self { start, ..self }
    }

    /// Sets the variable that the factor falls with; the default is the sparsity.
    #[must_use]
    pub fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }
}

impl GradientScale for Falling {
    fn at(&self, now: &Now) -> PrunedGrad {
        let x = match self.over {
            Over::Training => now.progress,
            Over::Sparsity => {
                let (start, end) = (self.start.get(), now.target.get());
                // A target that equals the start is already reached.
                if end <= start { 1.0 } else { (now.achieved.get() - start) / (end - start) }
            }
        };
        PrunedGrad::uniform(self.fall.at(x, self.end) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Constant, Density, FeatherRule, PerLayer, Proximity};
    use proptest::prelude::*;

    fn now(achieved: f64, target: f64, progress: f64) -> Now {
        let (achieved, target) = (Sparsity::saturating(achieved), Sparsity::saturating(target));
        Now { achieved, target, progress }
    }

    fn falls() -> impl Strategy<Value = Fall> {
        prop_oneof![
            Just(Fall::Linear),
            Just(Fall::Cosine),
            Just(Fall::Exponential),
            (1e-3..1e3f64).prop_map(Fall::Power),
            (1e-3..1e3f64, 0.0..=1.0f64)
                .prop_map(|(steepness, centre)| Fall::Sigmoid { steepness, centre }),
        ]
    }

    proptest! {
        #[test]
        fn a_falling_factor_is_in_range_never_rises_and_is_exact_at_both_ends(
            fall in falls(), end in 0.0..=1.0f64, start in 0.0..0.5f64, target in 0.5..1.0f64,
            a in 0.0..=1.0f64, b in 0.0..=1.0f64,
        ) {
            let policy = Falling::new(fall, end).unwrap().starting_at(Sparsity::saturating(start));
            let theta = |s| policy.at(&now(s, target, 0.3)).at_zero;
            let (first, then) = (theta(a.min(b)), theta(a.max(b)));
            prop_assert!((0.0..=1.0).contains(&then) && then <= first, "{} {}", first, then);
            prop_assert_eq!((theta(start), theta(target)), (1.0, end as f32));

            let timed = policy.over(Over::Training);
            let theta = |progress| timed.at(&now(0.2, target, progress)).at_cut;
            prop_assert!(theta(a.max(b)) <= theta(a.min(b)));
            prop_assert_eq!((theta(0.0), theta(1.0)), (1.0, end as f32));
        }

        #[test]
        fn near_the_cut_is_never_less_than_near_zero_whatever_the_time(
            at_zero in 0.0..=1.0f32, at_cut in 0.0..=1.0f32, achieved in 0.0..=1.0f64, progress in 0.0..=1.0f64,
        ) {
            let (least, most) = (at_zero.min(at_cut), at_zero.max(at_cut));
            let grad = Proximity::new(least, most).unwrap().at(&now(achieved, 1.0, progress));
            prop_assert_eq!(grad, PrunedGrad { at_zero: least, at_cut: most });
            prop_assert!(least == most || Proximity::new(most, least).is_err());
        }

        #[test]
        fn by_layer_a_policy_is_that_of_the_layers_sparsity(
            fall in falls(), end in 0.0..=1.0f64, layers in prop::collection::vec(0.0..=1.0f64, 2..6),
        ) {
            let inner = Falling::new(fall, end).unwrap();
            let mut layers = layers;
            layers.sort_by(f64::total_cmp);
            let thetas: Vec<f32> =
                layers.iter().map(|&s| PerLayer(inner).at(&now(s, 0.9, 0.5)).at_zero).collect();
            prop_assert!(thetas.is_sorted_by(|a, b| a >= b), "{:?}", thetas);
            prop_assert!(thetas.iter().all(|theta| (end as f32..=1.0).contains(theta)));
            prop_assert_eq!(PerLayer(inner).at(&now(0.4, 0.9, 0.5)), inner.at(&now(0.4, 0.9, 0.5)));
        }

        #[test]
        fn without_a_fall_policies_are_feathers_rule(
            fall in falls(), achieved in 0.0..=0.95f64, target in 0.0..=0.95f64,
        ) {
            let now = now(achieved.min(target), target, 0.5);
            let rule = FeatherRule.at(&now);
            prop_assert_eq!(Falling::new(fall, 1.0).unwrap().at(&now), rule);
            prop_assert_eq!(Density::new(1.0, 1.0).unwrap().at(&now), rule);
            prop_assert_eq!(Proximity::new(1.0, 1.0).unwrap().at(&now), rule);
        }
    }

    #[test]
    fn curves_half_way() {
        let theta = |fall, end| Falling::new(fall, end).unwrap().at(&now(0.4, 0.8, 0.0)).at_zero;
        assert_eq!(theta(Fall::Power(2.0), 0.0), 0.75);
        assert_eq!(theta(Fall::Cosine, 0.5), 0.75);
        assert_eq!(theta(Fall::Exponential, 0.25), 0.5);
        assert_eq!(theta(Fall::Sigmoid { steepness: 10.0, centre: 0.5 }, 0.0), 0.5);
        assert!(theta(Fall::Sigmoid { steepness: 10.0, centre: 0.8 }, 0.0) > 0.9);
    }

    #[test]
    fn impossible_parameters_are_refused_with_their_range() {
        let message = |error: OutOfRange| error.to_string();
        let end = Falling::new(Fall::Linear, 1.5).map_err(message);
        assert_eq!(end, Err("the last θ is 1.5, outside [0, 1]".into()));
        for fall in [
            Fall::Power(0.0),
            Fall::Power(f64::NAN),
            Fall::Sigmoid { steepness: -1.0, centre: 0.5 },
            Fall::Sigmoid { steepness: 1.0, centre: 1.5 },
        ] {
            assert!(Falling::new(fall, 0.5).is_err(), "{fall:?}");
        }
        assert!(
            Proximity::new(0.8, 0.5).map_err(message).unwrap_err().contains("θ at zero is 0.8")
        );
        assert!(Proximity::new(0.5, 1.1).is_err());
        assert!(PerLayer(Constant::new(0.5).unwrap()).is_per_layer());
    }
}
