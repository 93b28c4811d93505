//! Shapes of a ramp.

use std::{f64::consts::PI, num::NonZeroU8};

/// Shape of a ramp between its first and its last value: a function from `[0, 1]` to `[0, 1]` that never falls.
///
/// Every curve is 0 at 0 and 1 at 1, except [`OneShot`](Self::OneShot), which is 1 everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Curve {
    /// `x`.
    Linear,
    /// `1 − (1 − x)³`: fast at first, when many weights remain to choose from; slow near the target.
    ///
    /// # References
    /// Zhu and Gupta, "To prune, or not to prune" (arXiv:1710.01878), equation 1.
    Cubic,
    /// `(1 − cos πx) / 2`: slow at both ends.
    Cosine,
    /// `(1 − e^(−4x)) / (1 − e^(−4))`: faster than [`Cubic`](Self::Cubic) at first and at the end, slower in between.
    Exponential,
    /// A logistic function of `14·x − 5`, shifted and scaled to be 0 at 0 and 1 at 1: slow, then fast, then slow.
    ///
    /// # References
    /// Hubens et al., "One-Cycle Pruning" (arXiv:2107.02086), with their constants.
    OneCycle,
    /// `x + sin(πx)/π`: the sum of a cosine learning-rate schedule up to x, scaled to 1.
    ///
    /// LATS changes its *threshold* in proportion to the learning rate, which keeps the implied penalty on weights
    /// constant. This curve has the same shape for the sparsity.
    ///
    /// # References
    /// Chen et al., "A Unified Framework for Soft Threshold Pruning" (arXiv:2302.13019).
    Lats,
    /// 1 for every x: a single jump.
    OneShot,
    /// `1 − (1 − x)ⁿ`: a larger n is faster at first. n = 1 is [`Linear`](Self::Linear), n = 3 is
    /// [`Cubic`](Self::Cubic).
    Power(NonZeroU8),
}

impl Curve {
    /// Curves with their names in experiment files, without [`Power`](Self::Power).
    pub const ALL: [(&'static str, Self); 7] = [
        ("linear", Self::Linear),
        ("cubic", Self::Cubic),
        ("cosine", Self::Cosine),
        ("exponential", Self::Exponential),
        ("one-cycle", Self::OneCycle),
        ("lats", Self::Lats),
        ("one-shot", Self::OneShot),
    ];

    /// The curve at `x` in `[0, 1]`.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Linear => x,
            Self::Cubic => {
                let left = 1.0 - x;
                1.0 - left * left * left
            }
            Self::Cosine => (1.0 - libm::cos(PI * x)) / 2.0,
            // Exact at both ends, without rounding errors.
            Self::Exponential | Self::OneCycle | Self::Lats if x <= 0.0 => 0.0,
            Self::Exponential | Self::OneCycle | Self::Lats if x >= 1.0 => 1.0,
            Self::Lats => (x + libm::sin(PI * x) / PI).min(1.0),
            Self::Exponential => libm::expm1(-4.0 * x) / libm::expm1(-4.0),
            Self::OneCycle => {
                let logistic = |x: f64| 1.0 / (1.0 + libm::exp(5.0 - 14.0 * x));
                (logistic(x) - logistic(0.0)) / (logistic(1.0) - logistic(0.0))
            }
            Self::OneShot => 1.0,
            Self::Power(n) => {
                let left = 1.0 - x;
                1.0 - (0..n.get()).fold(1.0, |product, _| product * left)
            }
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
        let power = |n| Curve::Power(NonZeroU8::new(n).unwrap()).at(0.25);
        assert_eq!([1, 2, 3].map(power), [0.25, 1.0 - 0.5625, Curve::Cubic.at(0.25)]);
        assert!((Curve::Exponential.at(0.25) - 0.643_914_259_887_971_9).abs() < 1e-12);
        assert!((Curve::OneCycle.at(0.25) - 0.176_938_730_709_091_02).abs() < 1e-12);
        assert!((Curve::Lats.at(0.25) - (0.25 + 0.5f64.sqrt() / PI)).abs() < 1e-15);
        assert_eq!([Curve::Exponential, Curve::OneCycle, Curve::Lats].map(|c| c.at(0.0)), [0.0; 3]);
    }

    proptest! {
        #[test]
        fn curves_stay_in_range_end_at_one_and_never_fall(a in 0.0..=1.0f64, b in 0.0..=1.0f64, n in 1u8..) {
            let power = Curve::Power(NonZeroU8::new(n).unwrap());
            for curve in Curve::ALL.map(|(_, curve)| curve).into_iter().chain([power]) {
                let (low, high) = (curve.at(a.min(b)), curve.at(a.max(b)));
                prop_assert!((0.0..=1.0).contains(&low) && low <= high);
                prop_assert_eq!(curve.at(1.0), 1.0);
            }
        }
    }
}
