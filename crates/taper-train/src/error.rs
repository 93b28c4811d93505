//! What can end a run.

use crate::checkpoint::CheckpointError;
use std::path::PathBuf;
use taper_distributed::DistributedError;
use taper_prune::PruneError;

/// Why a run could not go on.
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
        /// Where it was seen first.
        place: String,
    },
    /// Progress that this run cannot have made.
    #[error(
        "{epochs} epochs and {step} steps are no progress of a run of {total} steps with {per_epoch} in an epoch; resume with the recipe and the data of the checkpoint"
    )]
    Progress {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epochs: u64,
        /// Steps of an epoch.
        per_epoch: u64,
        /// Steps of the run.
        total: u64,
    },
    /// A warm-up that does not end before the run does.
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
    /// Something between ranks that train together.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// A checkpoint of another optimizer.
    #[error(
        "the checkpoint was saved with optimizer {saved}, and this run has {given}; resume with {saved}, or begin a new run"
    )]
    Optimizer {
        /// Name of the one that it was saved with.
        saved: String,
        /// Name of the one of the run.
        given: String,
    },
    /// The data has another shape than the model takes, or the like.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The pruner could not take a step.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file could not be written or read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl TrainError {
    /// Puts the file to an input or output error.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
