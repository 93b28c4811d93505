//! What can go wrong with a file.

use std::path::{Path, PathBuf};
use taper_train::checkpoint::CheckpointError;

/// A network that cannot be written to a file, or a file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Something is there already.
    #[error("{} exists already; name another, or say that it may be overwritten", .0.display())]
    Exists(PathBuf),
    /// The format cannot hold what it should.
    #[error("{0}")]
    Impossible(String),
    /// The file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("cannot read {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
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
