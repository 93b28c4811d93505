//! The error type of export and import.

use std::path::{Path, PathBuf};
use taper_train::checkpoint::CheckpointError;

/// A network that cannot be written to a file, or a file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The path exists already.
    #[error("{} exists already; choose another path, or allow overwriting", .0.display())]
    Exists(PathBuf),
    /// The format cannot store the network.
    #[error("{0}")]
    Impossible(String),
    /// The file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is malformed, or does not fit the network.
    #[error("cannot read {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The defect, and where it is.
        reason: String,
    },
    /// A safetensors file could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The graph of a network cannot be computed.
    #[error(transparent)]
    Graph(#[from] taper_graph::GraphError),
    /// A tensor could not be copied.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl ExportError {
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn malformed(path: &Path) -> impl FnOnce(String) -> Self + use<> {
        let path = path.to_path_buf();
        move |reason| Self::Malformed { path, reason }
    }
}
