//! What can be wrong with a record.

use std::path::{Path, PathBuf};

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The system refused.
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
    #[error("{} is no record of a run: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The file is of a later version.
    #[error(
        "{} has schema {schema}, and this program knows up to {known}; use the program that wrote it, or a later one",
        path.display()
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        schema: u64,
        /// The latest version that is known.
        known: u64,
    },
}

impl RecordError {
    /// Puts the file to an input or output error.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }

    /// Puts the file to what is wrong with it.
    pub(crate) fn malformed<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |reason| Self::Malformed { path: path.into(), reason: reason.to_string() }
    }
}
