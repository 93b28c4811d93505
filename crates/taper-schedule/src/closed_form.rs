//! Sparsity as a function of time alone.

use crate::{Joined, Points, Ramp, SparsitySchedule};
use std::fmt::Debug;
use taper_core::{Sparsity, Step};

/// A schedule that is a function of time alone, on which an [`Adaptive`](crate::Adaptive) clock can run.
///
/// Its sparsity must never fall, and must be the target from [`end`](Self::end) on.
pub trait ClosedForm: Debug + Send + Sync {
    /// Sparsity at a time between steps.
    fn at(&self, time: f64) -> Sparsity;

    /// The step at which pruning begins.
    fn begin(&self) -> Step;

    /// The step from which on it is at its target.
    fn end(&self) -> Step;

    /// Sparsity at the end.
    fn last(&self) -> Sparsity;
}

macro_rules! schedule_of_closed_form {
    ($($name:ty),*) => {$(
        impl SparsitySchedule for $name {
            fn sparsity(&self, step: Step) -> Sparsity {
                self.at(step.0 as f64)
            }

            fn target(&self) -> Sparsity {
                self.last()
            }
        }
    )*};
}

schedule_of_closed_form!(Ramp, Points, Joined);

/// Points or parts that make no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointsError(pub(crate) String);

impl std::fmt::Display for PointsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PointsError {}
