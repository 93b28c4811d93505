//! Position in training.

use std::fmt;

/// The optimizer step that is about to run, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(pub u64);

impl Step {
    /// The first step of a run.
    pub const ZERO: Self = Self(0);

    /// The step after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The step before this one; step 0 for step 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_count_up_and_stop_at_zero_downwards() {
        assert_eq!(Step::ZERO.next(), Step(1));
        assert_eq!(Step(3).previous(), Step(2));
        assert_eq!(Step::ZERO.previous(), Step::ZERO);
    }
}
