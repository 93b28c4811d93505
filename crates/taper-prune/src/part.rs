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
    /// The value of weights that enter in a swap.
    GrowInit,
    /// The momentum of weights that enter in a swap.
    Momentum,
    /// Whether masks may exceed the sparsity of the schedule between swaps.
    Bound,
    /// The step at which swaps end.
    SwapEnd,
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
    /// [`PrunerBuilder::initial_scale`](crate::PrunerBuilder::initial_scale).
    InitialScale,
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
            Self::GrowInit => "the value of weights that enter",
            Self::Momentum => "the momentum of weights that enter",
            Self::Bound => "the soft bound",
            Self::SwapEnd => "the end of swaps",
            Self::Begin => "the criterion of the first masks",
            Self::Cadence => "the steps of the renewal",
            Self::Clock => "the clock of the schedule",
            Self::Remainder => "the remainder",
            Self::InitialScale => "the scale of initial weights",
            Self::Schedule => "the schedule",
            Self::Gradient => "the gradient scale",
            Self::Update => "the update of pruned weights",
            Self::Drop => "the drop policy",
        })
    }
}
