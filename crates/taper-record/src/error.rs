//! The errors of reading and writing records.

use std::path::{Path, PathBuf};

/// An error of reading or writing a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation: `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The content of the file is invalid.
    #[error("{} is not a valid record of a run: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The file is from a later version.
    #[error(
        "{} has schema {schema}, but this program supports up to {known}; use the program that wrote it, or a later one",
        path.display()
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        schema: u64,
        /// The latest supported version.
        known: u64,
    },
}

impl RecordError {
    /// Adds the operation and the file to an input or output error.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }

    /// Adds the file to the reason why its content is invalid.
    pub(crate) fn malformed<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |reason| Self::Malformed { path: path.into(), reason: reason.to_string() }
    }
}
