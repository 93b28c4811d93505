//! Parameters outside their range.

use std::fmt;

/// Error: a parameter of a policy outside its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutOfRange {
    name: &'static str,
    value: f64,
    legal: &'static str,
}

impl OutOfRange {
    /// `value`, if it is legal; NaN never is.
    pub(crate) fn check(
        name: &'static str,
        value: f64,
        legal: &'static str,
        is_legal: impl Fn(f64) -> bool,
    ) -> Result<f64, Self> {
        if is_legal(value) { Ok(value) } else { Err(Self { name, value, legal }) }
    }

    /// A factor on a gradient, in `[0, 1]`.
    pub(crate) fn factor(name: &'static str, value: f64) -> Result<f64, Self> {
        Self::check(name, value, "[0, 1]", |v| (0.0..=1.0).contains(&v))
    }

    /// A parameter in `[0.001, 1000]`. Outside this range the formulas lose precision.
    pub(crate) fn positive(name: &'static str, value: f64) -> Result<f64, Self> {
        Self::check(name, value, "[0.001, 1000]", |v| (1e-3..=1e3).contains(&v))
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, outside {}", self.name, self.value, self.legal)
    }
}

impl std::error::Error for OutOfRange {}
