//! Sparsity as a function of time alone.

use std::fmt::Debug;
use taper_core::{Sparsity, Step};

/// A schedule that is a function of time alone; [`Adaptive`](crate::Adaptive) can vary its rate.
///
/// Its sparsity must never fall, and must equal the target from [`end`](Self::end) on.
pub trait ClosedForm: Debug + Send + Sync {
    /// Sparsity at a time in steps, which may lie between two steps.
    fn at(&self, time: f64) -> Sparsity;

    /// The step at which pruning begins.
    fn begin(&self) -> Step;

    /// The step from which the sparsity is the target.
    fn end(&self) -> Step;

    /// Sparsity at the end: the target.
    fn last(&self) -> Sparsity;
}

/// Implements `SparsitySchedule` for a closed form, which ignores feedback.
macro_rules! closed_form_is_schedule {
    ($name:ty) => {
        impl $crate::SparsitySchedule for $name {
            fn sparsity(&self, step: taper_core::Step) -> taper_core::Sparsity {
                $crate::ClosedForm::at(self, step.0 as f64)
            }

            fn target(&self) -> taper_core::Sparsity {
                $crate::ClosedForm::last(self)
            }
        }
    };
}

pub(crate) use closed_form_is_schedule;

/// Error: points, parts or phases that do not form a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointsError(pub(crate) String);

impl std::fmt::Display for PointsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PointsError {}
