//! The names of a pruner's choices.

use std::fmt;

/// A choice of a [`PrunerBuilder`](crate::PrunerBuilder), as [`PruneError::Together`](crate::PruneError::Together) names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// [`PrunerBuilder::operator`](crate::PrunerBuilder::operator).
    Threshold,
    /// [`PrunerBuilder::criterion`](crate::PrunerBuilder::criterion).
    Criterion,
    /// [`PrunerBuilder::structure`](crate::PrunerBuilder::structure).
    Structure,
    /// [`PrunerBuilder::quantile`](crate::PrunerBuilder::quantile).
    Quantile,
    /// [`PrunerBuilder::renewal`](crate::PrunerBuilder::renewal).
    Renewal,
    /// What weights enter by in a swap.
    Growth,
    /// What the first masks are chosen by.
    Begin,
    /// The steps of a renewal.
    Cadence,
    /// The schedule of the [`Pruner::builder`](crate::Pruner::builder).
    Schedule,
    /// The clock of an adaptive schedule.
    Clock,
    /// [`PrunerBuilder::remainder`](crate::PrunerBuilder::remainder).
    Remainder,
    /// [`PrunerBuilder::gradient`](crate::PrunerBuilder::gradient).
    Gradient,
    /// [`PrunerBuilder::pruned_update`](crate::PrunerBuilder::pruned_update).
    Update,
    /// [`PrunerBuilder::drop`](crate::PrunerBuilder::drop).
    Drop,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threshold => "the threshold",
            Self::Criterion => "the criterion",
            Self::Structure => "the structure",
            Self::Quantile => "the quantile",
            Self::Renewal => "the renewal",
            Self::Growth => "the criterion of growth",
            Self::Begin => "the criterion of the first masks",
            Self::Cadence => "the steps of the renewal",
            Self::Schedule => "the schedule",
            Self::Clock => "the clock of the schedule",
            Self::Remainder => "the remainder",
            Self::Gradient => "the gradient scale",
            Self::Update => "the update of pruned weights",
            Self::Drop => "the drop policy",
        })
    }
}
