//! The one error type of this crate. Every message names the offending file or value and what to do about it.

use std::path::{Path, PathBuf};

/// What can go wrong between a name and a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The name is neither a known data set nor an existing folder.
    #[error(
        "no data set is named `{name}`{}; known are `digits`, `cifar10` and `cifar100`, or give the path of a folder",
        nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The known name that is closest to it, if any is close.
        nearest: Option<&'static str>,
    },
    /// The operating system refused to read or write a file.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file or folder as a whole is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and the remedy.
        problem: String,
    },
    /// One row (image) of a file is not what it should be.
    #[error("{}, row {row} (counted from 0): {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row within the file, counted from 0.
        row: usize,
        /// What is wrong with it and the remedy.
        problem: String,
    },
    /// A single PNG that does not decode to an RGB image of 8 bits a channel.
    #[error("not a usable image: {0}")]
    Image(String),
    /// A value passed in by the caller is outside its legal range.
    #[error("{0}")]
    Invalid(String),
    /// A file could not be fetched from the hub.
    #[error("cannot fetch {url}: {cause}; {remedy}")]
    Fetch {
        /// The address asked for.
        url: String,
        /// The last failure.
        cause: String,
        /// What the user can do.
        remedy: String,
    },
}

/// Shorthand for results of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

impl DataError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn row(path: &Path, row: usize, problem: impl Into<String>) -> Self {
        Self::Row { path: path.to_owned(), row, problem: problem.into() }
    }
}
