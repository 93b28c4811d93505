//! The rate of an adaptive schedule as a function of mask churn.

use std::{fmt, str::FromStr};

/// The rate of an adaptive schedule as a function of `z`, the mask churn divided by its reference. It is 1 at z = 1 and
/// never rises with z.
///
/// Each function is limited to the smallest and the largest rate of its schedule. Gains and powers are at least 0, and
/// the bound of a gate at least 1; [`Adaptive::new`](crate::Adaptive::new) rejects other numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// `1 / z`.
    Reciprocal,
    /// `1 + gain·(1 − z)`.
    Linear(f64),
    /// `exp(gain·(1 − z))`.
    Exponential(f64),
    /// `z^(−power)`.
    Power(f64),
    /// `1 + r·tanh(gain·(1 − z))`, with r = largest rate − 1 for z < 1, and r = 1 − smallest rate otherwise.
    Sigmoid(f64),
    /// The smallest rate for z above a bound of at least 1, else 1: slows or pauses while the mask is unstable.
    Gate(f64),
}

/// Error: a text that is not a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRate(String);

impl fmt::Display for UnknownRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is unknown; it can be reciprocal, linear:GAIN, exponential:GAIN, power:POWER, sigmoid:GAIN or gate:BOUND",
            self.0
        )
    }
}

impl std::error::Error for UnknownRate {}

impl FromStr for Rate {
    type Err = UnknownRate;

    /// Reads `reciprocal`, `linear:GAIN`, `exponential:GAIN`, `power:POWER`, `sigmoid:GAIN` or `gate:BOUND`.
    fn from_str(text: &str) -> Result<Self, UnknownRate> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, number.parse().ok()),
            None => (text, None),
        };
        match (name, number) {
            ("reciprocal", None) if !text.contains(':') => Ok(Self::Reciprocal),
            ("linear", Some(gain)) => Ok(Self::Linear(gain)),
            ("exponential", Some(gain)) => Ok(Self::Exponential(gain)),
            ("power", Some(power)) => Ok(Self::Power(power)),
            ("sigmoid", Some(gain)) => Ok(Self::Sigmoid(gain)),
            ("gate", Some(bound)) => Ok(Self::Gate(bound)),
            _ => Err(UnknownRate(text.into())),
        }
    }
}

impl Rate {
    /// Name, value and legal range of the parameter, if it is out of range.
    pub(crate) fn misfit(self) -> Option<(&'static str, f64, &'static str)> {
        let (name, value, least) = match self {
            Self::Reciprocal => return None,
            Self::Linear(gain) | Self::Exponential(gain) | Self::Sigmoid(gain) => {
                ("gain", gain, 0.0)
            }
            Self::Power(power) => ("power", power, 0.0),
            Self::Gate(bound) => ("bound", bound, 1.0),
        };
        let legal = if least > 0.0 { "[1, inf)" } else { "[0, inf)" };
        (!(value >= least && value.is_finite())).then_some((name, value, legal))
    }

    /// The rate in steps of the plain ramp per training step, between `slow` and `fast`.
    ///
    /// # Panics
    /// If `slow` is above `fast`, or one of them is NaN.
    pub fn at(self, z: f64, slow: f64, fast: f64) -> f64 {
        let rate = match self {
            Self::Reciprocal => 1.0 / z,
            Self::Linear(gain) => 1.0 + gain * (1.0 - z),
            Self::Exponential(gain) => libm::exp(gain * (1.0 - z)),
            Self::Power(power) => libm::pow(z, -power),
            Self::Sigmoid(gain) => {
                let step = libm::tanh(gain * (1.0 - z));
                1.0 + step * if z < 1.0 { fast - 1.0 } else { 1.0 - slow }
            }
            Self::Gate(bound) => {
                if z > bound {
                    slow
                } else {
                    1.0
                }
            }
        };
        // NaN from a gain of 0 times an infinite z: with a gain of 0 the rate is 1.
        if rate.is_nan() { 1.0 } else { rate.clamp(slow, fast) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn families(g: f64) -> [Rate; 6] {
        [
            Rate::Reciprocal,
            Rate::Linear(g),
            Rate::Exponential(g),
            Rate::Power(g),
            Rate::Sigmoid(g),
            Rate::Gate(1.0 + g),
        ]
    }

    #[test]
    fn rates_are_read_from_their_names() {
        assert_eq!("reciprocal".parse(), Ok(Rate::Reciprocal));
        assert_eq!("power:0.5".parse(), Ok(Rate::Power(0.5)));
        assert_eq!("gate:2".parse(), Ok(Rate::Gate(2.0)));
        for text in ["", "linear", "linear:a", "reciprocal:1", "slow:1"] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains("it can be reciprocal"), "{error}");
        }
    }

    #[test]
    fn families_at_twice_and_half_the_reference() {
        let at = |z| families(1.0).map(|rate| rate.at(z, 0.1, 3.0));
        let [reciprocal, linear, exponential, power, sigmoid, gate] = at(2.5);
        assert_eq!((reciprocal, linear, power, gate), (0.4, 0.1, 0.4, 0.1));
        assert!((exponential - libm::exp(-1.5)).abs() < 1e-12);
        assert!((sigmoid - (1.0 - 0.9 * libm::tanh(1.5))).abs() < 1e-12);
        let [reciprocal, linear, _, power, _, gate] = at(0.5);
        assert_eq!((reciprocal, linear, power, gate), (2.0, 1.5, 2.0, 1.0));
    }

    proptest! {
        #[test]
        fn rates_are_one_at_the_reference_in_range_and_never_rise(
            g in 0.0..20.0f64, slow in 0.0..=1.0f64, fast in 1.0..5.0f64, a in 0.0..10.0f64, b in 0.0..10.0f64,
        ) {
            for rate in families(g) {
                prop_assert_eq!(rate.at(1.0, slow, fast), 1.0);
                let (first, then) = (rate.at(a.min(b), slow, fast), rate.at(a.max(b), slow, fast));
                prop_assert!(then <= first && (slow..=fast).contains(&then), "{rate:?} {first} {then}");
                prop_assert!(rate.at(f64::INFINITY, slow, fast) <= first);
            }
        }
    }
}
