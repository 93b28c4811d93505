//! State of a schedule in a checkpoint.

use std::fmt;

/// Numbers that a schedule saves and restores, in its own order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(pub Vec<f64>);

impl State {
    /// Nothing to save: the state of every closed form.
    pub const EMPTY: Self = Self(Vec::new());

    /// Checks the number of values.
    ///
    /// # Errors
    /// [`RestoreError`] if there are not exactly `n` values.
    pub fn expect_len(&self, n: usize) -> Result<(), RestoreError> {
        if self.0.len() == n {
            Ok(())
        } else {
            Err(RestoreError { expected: n, found: self.0.len() })
        }
    }
}

/// Error: a saved state that does not fit the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError {
    expected: usize,
    found: usize,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, found } = self;
        write!(
            f,
            "saved schedule state has {found} values, but this schedule has {expected}; resume with the schedule that wrote it"
        )
    }
}

impl std::error::Error for RestoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_another_schedule_is_refused() {
        assert_eq!(State::EMPTY.expect_len(0), Ok(()));
        assert!(State(vec![1.0]).expect_len(0).is_err());
    }
}
