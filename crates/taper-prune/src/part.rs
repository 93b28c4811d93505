//! Names of the parts of a pruner.

use std::fmt;

/// A part of a [`PrunerBuilder`](crate::PrunerBuilder), for [`PruneError::Together`](crate::PruneError::Together).
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
    /// The growth criterion of prune-and-regrow.
    Growth,
    /// The initial value of regrown weights.
    GrowInit,
    /// The initial momentum of regrown weights.
    Momentum,
    /// Whether masks may keep extra weights between prune-and-regrow updates.
    Bound,
    /// The step at which prune-and-regrow ends.
    SwapEnd,
    /// The criterion of the first masks.
    Begin,
    /// The steps at which masks are updated.
    Cadence,
    /// The schedule of the [`Pruner::builder`](crate::Pruner::builder).
    Schedule,
    /// The steps in which the schedule changes the sparsity.
    Ramp,
    /// The adaptation of the schedule.
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
            Self::Threshold => "the operator",
            Self::Criterion => "the criterion",
            Self::Structure => "the structure",
            Self::Quantile => "the quantile",
            Self::Renewal => "the mask update rule",
            Self::Growth => "the growth criterion",
            Self::GrowInit => "the initial value of regrown weights",
            Self::Momentum => "the initial momentum of regrown weights",
            Self::Bound => "the soft bound",
            Self::SwapEnd => "the end of prune-and-regrow",
            Self::Begin => "the criterion of the first masks",
            Self::Cadence => "the steps of mask updates",
            Self::Clock => "the adaptation of the schedule",
            Self::Remainder => "the treatment of pruned weights",
            Self::InitialScale => "the scale of initial weights",
            Self::Schedule => "the schedule",
            Self::Ramp => "the ramp of the schedule",
            Self::Gradient => "the gradient scale",
            Self::Update => "the gradient computation of pruned weights",
            Self::Drop => "the drop policy",
        })
    }
}
