//! What can go wrong in pruning.

use crate::{Part, allocation::AllocationError};
use taper_schedule::RestoreError;

/// A pruner that cannot be built, or a step that it cannot take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// There is nothing to prune.
    #[error(
        "there are no prunable layers; pass the weights of the convolutions, linear and recurrent layers"
    )]
    NoLayers,
    /// A weight that cannot be pruned as it is described.
    #[error("weight {name} cannot be pruned: {reason}")]
    Weight {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable under two names, which would be pruned twice.
    #[error(
        "weights {first} and {second} are one variable, which is pruned once; leave one of them out"
    )]
    Tied {
        /// The name that comes first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A step before the one last begun.
    #[error(
        "step {step} was begun after step {last}: steps never fall; count them over the whole run, not from 0 in each epoch"
    )]
    Step {
        /// The step.
        step: u64,
        /// The step last begun.
        last: u64,
    },
    /// A target that keeps no weight at all.
    #[error(
        "target sparsity {target} keeps none of {n_weights} weights; it must be in [0, {largest}], where one is kept"
    )]
    Target {
        /// The target.
        target: f64,
        /// Prunable weights.
        n_weights: u64,
        /// The largest target that keeps one of them.
        largest: f64,
    },
    /// A schedule that is not over when the run is.
    #[error(
        "the schedule is at sparsity {reached} in the last of {total} steps, short of its target {target}; end it earlier"
    )]
    NeverReached {
        /// Sparsity in the last step.
        reached: f64,
        /// Steps of the run.
        total: u64,
        /// The target.
        target: f64,
    },
    /// An adaptive schedule that may still be short of its target when the run is over.
    #[error(
        "the schedule reaches its target by step {deadline} at the latest, and the last step is {last}; set the deadline earlier"
    )]
    Deadline {
        /// The step by which the target is reached whatever is observed.
        deadline: u64,
        /// The last step of the run.
        last: u64,
    },
    /// The overall sparsity cannot be met.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
    /// An impossible [`PrunedUpdate`](crate::PrunedUpdate).
    #[error("gradient of pruned weights: {reason}")]
    Update {
        /// What is impossible.
        reason: String,
    },
    /// An impossible [`Renewal`](crate::renewal::Renewal).
    #[error("renewal of masks: {reason}")]
    Renewal {
        /// What is impossible.
        reason: String,
    },
    /// Masks that need the network [measured](crate::Pruner::prepare), which was not done or not possible.
    #[error("measuring the network: {reason}")]
    Preparation {
        /// What is missing, and what to do.
        reason: String,
    },
    /// An impossible [`Operator`](crate::operator::Operator).
    #[error("operator on kept weights: {reason}")]
    Operator {
        /// What is impossible.
        reason: String,
    },
    /// A [`Structure`](crate::structure::Structure) that does not fit a layer, or another choice.
    #[error("structure of masks: {reason}")]
    Structure {
        /// What does not fit, and what to do.
        reason: String,
    },
    /// Two choices that exclude each other.
    #[error("{first} and {second} exclude each other: {reason}")]
    Together {
        /// One of them.
        first: Part,
        /// The other one.
        second: Part,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A share of dropped weights that is none.
    #[error("the share of pruned weights to drop is {share}, outside [0, 1]")]
    DropShare {
        /// The share.
        share: f64,
    },
    /// A saved state that belongs to another pruner.
    #[error("saved pruner state does not fit this model: {reason}")]
    State {
        /// What does not fit.
        reason: String,
    },
    /// A saved schedule state that belongs to another schedule.
    #[error(transparent)]
    Schedule(#[from] RestoreError),
    /// A tensor could not be read or written.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
