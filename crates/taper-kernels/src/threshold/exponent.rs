//! The exponent of the power threshold.

use std::fmt;

/// Exponent `p` of the power threshold, finite and above 1. The limits 1 and ∞ are separate operators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponent(f32);

impl Exponent {
    /// Feather's choice.
    pub const THREE: Self = Self(3.0);

    /// Checks `1 < p < ∞`.
    ///
    /// # Errors
    /// [`ExponentError`] outside that range.
    pub fn new(p: f32) -> Result<Self, ExponentError> {
        if p > 1.0 && p.is_finite() { Ok(Self(p)) } else { Err(ExponentError { p }) }
    }

    /// The exponent.
    pub fn get(self) -> f32 {
        self.0
    }
}

/// An exponent outside of `(1, ∞)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExponentError {
    p: f32,
}

impl fmt::Display for ExponentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "threshold exponent {} must be above 1 and finite; use the soft operator for 1 and the hard operator for infinity",
            self.p
        )
    }
}

impl std::error::Error for ExponentError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_refused() {
        assert_eq!(Exponent::new(3.0), Ok(Exponent::THREE));
        for p in [1.0, 0.5, f32::INFINITY, f32::NAN] {
            assert!(Exponent::new(p).is_err(), "{p} was accepted");
        }
    }
}
