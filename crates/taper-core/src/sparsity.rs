//! The fraction of weights that are zero.

use std::fmt;

/// Fraction of weights that are zero, in `[0, 1]`.
///
/// A value outside this range cannot be constructed, so functions that take a `Sparsity` need not check it.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Sparsity(f64);

impl Sparsity {
    /// Nothing is pruned.
    pub const DENSE: Self = Self(0.0);

    /// Checks that `value` is a fraction.
    ///
    /// # Errors
    /// [`SparsityError`] if `value` is NaN or outside `[0, 1]`.
    pub fn new(value: f64) -> Result<Self, SparsityError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(SparsityError { value }) }
    }

    /// Clamps `value` to `[0, 1]`; NaN becomes 0. For computed values that only rounding can push out of the range.
    pub fn saturating(value: f64) -> Self {
        if value.is_nan() { Self::DENSE } else { Self(value.clamp(0.0, 1.0)) }
    }

    /// The sparsity of `n` weights of which `n_kept` are kept; 0 for an empty set.
    pub fn of(n_kept: u64, n: u64) -> Self {
        if n == 0 { Self::DENSE } else { Self::saturating(1.0 - n_kept as f64 / n as f64) }
    }

    /// The value, in `[0, 1]`.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Density, `1 − sparsity`: the fraction of weights that are kept.
    pub fn density(self) -> f64 {
        1.0 - self.0
    }

    /// The smaller of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }

    /// Whether nothing is pruned.
    pub fn is_dense(self) -> bool {
        self.0 == 0.0
    }

    /// Number of weights kept out of `n`: `(1 − s)·n`, rounded half away from zero.
    pub fn n_kept(self, n: u64) -> u64 {
        ((self.density() * n as f64).round() as u64).min(n)
    }

    /// The largest sparsity that keeps one of `n` weights, about `1 − 1/(2n)`; 0 for an empty set. Printing and parsing
    /// it returns the same number.
    ///
    /// ```
    /// use taper_core::Sparsity;
    /// let largest = Sparsity::largest(100);
    /// assert_eq!((largest.get(), largest.n_kept(100)), (0.995, 1));
    /// ```
    pub fn largest(n: u64) -> Self {
        if n == 0 {
            return Self::DENSE;
        }
        let mut largest = 1.0 - 0.5 / n as f64;
        // Rounding may miss the limit by one or two floats.
        while Self(largest).n_kept(n) == 0 {
            largest = largest.next_down();
        }
        while Self(largest.next_up()).n_kept(n) > 0 {
            largest = largest.next_up();
        }
        Self(largest)
    }
}

impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Error: a number that is not a sparsity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparsityError {
    value: f64,
}

impl fmt::Display for SparsityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sparsity {} is outside [0, 1]", self.value)
    }
}

impl std::error::Error for SparsityError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_belong_to_the_range_and_nothing_beyond() {
        for legal in [0.0, 0.5, 1.0] {
            assert_eq!(Sparsity::new(legal).map(Sparsity::get), Ok(legal));
        }
        for illegal in [-1e-9, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
            assert!(Sparsity::new(illegal).is_err(), "{illegal} was accepted");
        }
    }

    #[test]
    fn kept_counts_are_rounded_to_the_nearest() {
        let s = |value| Sparsity::new(value).unwrap();
        assert_eq!(s(0.0).n_kept(7), 7);
        assert_eq!(s(1.0).n_kept(7), 0);
        assert_eq!(s(0.9).n_kept(14), 1);
        assert_eq!(s(0.9).n_kept(16), 2);
        assert_eq!(s(0.95).n_kept(1_092_960), 54_648);
    }

    #[test]
    fn the_largest_sparsity_keeps_one_weight_and_any_larger_one_none() {
        for n in [1, 2, 3, 7, 10, 526, 23_824, 1_092_960, 25_502_912, 1 << 40] {
            let largest = Sparsity::largest(n);
            assert_eq!(largest.n_kept(n), 1, "{n}");
            assert_eq!(Sparsity(largest.get().next_up()).n_kept(n), 0, "{n}");
            assert_eq!(largest.to_string().parse(), Ok(largest.get()), "{n}");
        }
        assert_eq!(Sparsity::largest(1).get(), 0.5);
        assert_eq!(Sparsity::largest(0), Sparsity::DENSE);
    }

    #[test]
    fn sparsity_of_counts() {
        assert_eq!(Sparsity::of(25, 100).get(), 0.75);
        assert_eq!(Sparsity::of(0, 0), Sparsity::DENSE);
    }
}
