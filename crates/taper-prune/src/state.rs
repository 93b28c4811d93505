//! What a pruner saves into a checkpoint.

use taper_schedule::State;

/// Everything about a [`Pruner`](crate::Pruner) that a step changes.
#[derive(Clone, Debug, PartialEq)]
pub struct PrunerState {
    /// The step last begun.
    pub step: u64,
    /// The sparsity imposed in it.
    pub sparsity: f64,
    /// The cut of each layer.
    pub cuts: Vec<f32>,
    /// The packed mask of each layer.
    pub masks: Vec<Vec<u64>>,
    /// The schedule's own state.
    pub schedule: State,
    /// The step and packed masks that the schedule was last told of, if it listens over more than one step.
    pub told: Option<(u64, Vec<Vec<u64>>)>,
}
