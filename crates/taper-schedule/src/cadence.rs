//! When masks are updated.

use std::fmt;
use taper_core::Step;

/// Updates masks at every n-th step, counted from step 0.
///
/// Between updates the masks are held: the set of pruned weights does not change, even if magnitudes do.
///
/// ```
/// use taper_core::Step;
/// use taper_schedule::Cadence;
/// let cadence = Cadence::every(3)?;
/// let due: Vec<bool> = (0..5).map(|t| cadence.is_due(Step(t))).collect();
/// assert_eq!(due, [true, false, false, true, false]);
/// # Ok::<(), taper_schedule::CadenceError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence(u64);

impl Cadence {
    /// A mask update before every forward pass, as in Feather.
    pub const EVERY_STEP: Self = Self(1);

    /// A mask update before the forward pass of every n-th step.
    ///
    /// # Errors
    /// [`CadenceError`] for 0.
    pub fn every(n: u64) -> Result<Self, CadenceError> {
        if n == 0 { Err(CadenceError) } else { Ok(Self(n)) }
    }

    /// Whether a mask update is due before the forward pass of `step`.
    pub fn is_due(self, step: Step) -> bool {
        step.0.is_multiple_of(self.0)
    }
}

/// Error: an interval of 0 steps between mask updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CadenceError;

impl fmt::Display for CadenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "masks cannot be updated every 0 steps; use at least 1")
    }
}

impl std::error::Error for CadenceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_always_due_and_zero_is_refused() {
        assert!((0..10).all(|t| Cadence::EVERY_STEP.is_due(Step(t))));
        assert_eq!(Cadence::every(0), Err(CadenceError));
    }
}
