//! Errors of pruning.

use crate::{Part, allocation::AllocationError};
use taper_schedule::RestoreError;

/// A pruner that cannot be built, or a step that fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// There is nothing to prune.
    #[error(
        "there are no prunable layers; pass the weights of the convolutions, linear and recurrent layers"
    )]
    NoLayers,
    /// A weight that cannot be pruned as described.
    #[error("weight {name} cannot be pruned: {reason}")]
    Weight {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One variable under two names; it would be pruned twice.
    #[error("weights {first} and {second} are one variable; leave one of them out")]
    Tied {
        /// The name that comes first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A step before the current one.
    #[error(
        "step {step} was begun after step {last}; steps must not decrease: count them over the whole run, not from 0 in each epoch"
    )]
    Step {
        /// The step.
        step: u64,
        /// The current step.
        last: u64,
    },
    /// A target that keeps no weight at all.
    #[error(
        "target sparsity {target} keeps none of {n_weights} weights; it must be in [0, {largest}] to keep at least one"
    )]
    Target {
        /// The target.
        target: f64,
        /// Prunable weights.
        n_weights: u64,
        /// The largest target that keeps one of them.
        largest: f64,
    },
    /// A schedule that does not reach its target within the run.
    #[error(
        "the schedule reaches sparsity {reached} in the last of {total} steps, short of its target {target}; end the schedule earlier"
    )]
    NeverReached {
        /// Sparsity in the last step.
        reached: f64,
        /// Steps of the run.
        total: u64,
        /// The target.
        target: f64,
    },
    /// An adaptive schedule that may not reach its target within the run.
    #[error(
        "the schedule reaches its target by step {deadline} at the latest, but the last step is {last}; set the deadline earlier"
    )]
    Deadline {
        /// The step by which the target is reached, whatever is observed.
        deadline: u64,
        /// The last step of the run.
        last: u64,
    },
    /// The overall sparsity cannot be met.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
    /// Parameters of the gradient of pruned weights out of range; see [`PrunedUpdate`](crate::PrunedUpdate).
    #[error("gradient of pruned weights: {reason}")]
    Update {
        /// The parameter and its legal range.
        reason: String,
    },
    /// A [`Renewal`](crate::renewal::Renewal) with parameters out of range.
    #[error("mask update rule: {reason}")]
    Renewal {
        /// The parameter and its legal range.
        reason: String,
    },
    /// Masks that need a [measurement](crate::Pruner::prepare) of the network, which is missing or failed.
    #[error("measuring the network: {reason}")]
    Preparation {
        /// What is missing, and what to do.
        reason: String,
    },
    /// An [`Operator`](crate::operator::Operator) with parameters out of range, or with values that do not fit a layer.
    #[error("operator on kept weights: {reason}")]
    Operator {
        /// The parameter and its legal range.
        reason: String,
    },
    /// A [`Criterion`](crate::criterion::Criterion) with parameters out of range, or with scores that do not fit a
    /// layer.
    #[error("criterion: {reason}")]
    Criterion {
        /// The parameter and its legal range, or what does not fit and what to do.
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
    /// A fraction of permanently pruned weights out of range.
    #[error("the fraction of pruned weights to drop is {share}, outside [0, 1]")]
    DropShare {
        /// The fraction.
        share: f64,
    },
    /// A saved state of another pruner.
    #[error("saved pruner state does not fit this model: {reason}")]
    State {
        /// What does not fit.
        reason: String,
    },
    /// A saved state of another schedule.
    #[error(transparent)]
    Schedule(#[from] RestoreError),
    /// A tensor could not be read or written.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
