//! The errors of training.

use crate::checkpoint::CheckpointError;
use std::path::PathBuf;
use taper_distributed::DistributedError;
use taper_prune::PruneError;

/// An error that ends a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The loss or a gradient is NaN or infinite.
    #[error("{what} is {value} at step {step}: {place}; lower the learning rate or check the data")]
    NotFinite {
        /// `the loss`, `the gradient norm`, `the test loss` or `the validation loss`.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The step.
        step: u64,
        /// Where a value that is not finite was found first.
        place: String,
    },
    /// The progress of the checkpoint is impossible in this run.
    #[error(
        "a run of {total} steps with {per_epoch} per epoch cannot be at step {step} after {epochs} epochs; resume with the recipe and the data of the checkpoint"
    )]
    Progress {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epochs: u64,
        /// Steps per epoch.
        per_epoch: u64,
        /// Steps of the run.
        total: u64,
    },
    /// The learning-rate warm-up does not end before the run does.
    #[error(
        "warmup_epochs is {epochs}, which is {warmup} steps, and the run has {total}; choose a shorter warm-up or a longer run"
    )]
    Warmup {
        /// Epochs of the warm-up.
        epochs: f64,
        /// Its steps.
        warmup: u64,
        /// Steps of the run.
        total: u64,
    },
    /// The communication between ranks failed, or the ranks differ.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// The checkpoint has the state of another optimizer.
    #[error(
        "the checkpoint was saved with optimizer {saved}, and this run has {given}; resume with {saved}, or begin a new run"
    )]
    Optimizer {
        /// Name of the optimizer in the checkpoint.
        saved: String,
        /// Name of the optimizer of this run.
        given: String,
    },
    /// A computation failed, for example because the images do not fit the model.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The pruner failed.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file could not be written or read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation: `read`, `write` and so on.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

impl TrainError {
    /// Adds the operation and the file to an input or output error.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
