//! Shapes of a ramp.

/// How a ramp gets from its first value to its last: a function from `[0, 1]` onto `[0, 1]`.
///
/// Every curve is 0 at 0, 1 at 1, and never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Curve {
    /// `x`.
    Linear,
    /// `1 − (1 − x)³`: fast while many weights are left to choose from, slow near the target.
    ///
    /// # References
    /// Zhu and Gupta, "To prune, or not to prune" (arXiv:1710.01878), equation 1.
    Cubic,
    /// `(1 − cos πx) / 2`: slow at both ends.
    Cosine,
    /// 1 for every x: the whole step at once.
    OneShot,
}

impl Curve {
    /// Names as in experiment files, with their curves.
    pub const ALL: [(&'static str, Self); 4] = [
        ("linear", Self::Linear),
        ("cubic", Self::Cubic),
        ("cosine", Self::Cosine),
        ("one-shot", Self::OneShot),
    ];

    /// The curve at `x` in `[0, 1]`.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Linear => x,
            Self::Cubic => 1.0 - (1.0 - x).powi(3),
            Self::Cosine => (1.0 - (std::f64::consts::PI * x).cos()) / 2.0,
            Self::OneShot => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn curves_at_a_quarter() {
        assert_eq!(Curve::Linear.at(0.25), 0.25);
        assert_eq!(Curve::Cubic.at(0.25), 1.0 - 0.421875);
        assert!((Curve::Cosine.at(0.25) - 0.146_446_609_406_726_2).abs() < 1e-15);
        assert_eq!(Curve::OneShot.at(0.0), 1.0);
    }

    proptest! {
        #[test]
        fn curves_stay_in_range_end_at_one_and_never_fall(a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
            for (_, curve) in Curve::ALL {
                let (low, high) = (curve.at(a.min(b)), curve.at(a.max(b)));
                prop_assert!((0.0..=1.0).contains(&low) && low <= high);
                prop_assert_eq!(curve.at(1.0), 1.0);
            }
        }
    }
}
