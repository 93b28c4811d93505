//! The error type of this crate. Every message names the invalid file or value, and the remedy.

use std::path::{Path, PathBuf};

/// An error of opening, fetching, reading or loading a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The name is neither a known data set nor the path of a folder.
    #[error(
        "no data set is named `{name}`{}; known are `digits`, `cifar10` and `cifar100`, or give the path of a folder",
        nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
    )]
    Unknown {
        /// The requested name.
        name: String,
        /// The most similar known name, if one is similar.
        nearest: Option<&'static str>,
    },
    /// A file cannot be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The content of a file or folder is invalid.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The problem and the remedy.
        problem: String,
    },
    /// One row (image) of a file is invalid.
    #[error("{}, row {row} (counted from 0): {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row within the file, counted from 0.
        row: usize,
        /// The problem and the remedy.
        problem: String,
    },
    /// An image cannot be decoded.
    #[error("not a usable image: {0}")]
    Image(String),
    /// An argument is outside its legal range.
    #[error("{0}")]
    Invalid(String),
    /// A file could not be fetched from the hub.
    #[error("cannot fetch {url}: {cause}; {remedy}")]
    Fetch {
        /// The requested address.
        url: String,
        /// The last failure.
        cause: String,
        /// The remedy.
        remedy: String,
        /// The error of the operating system, such as that of a full disk; `None` if the network or the hub failed.
        source: Option<std::io::Error>,
    },
}

/// A result with the error type of this crate.
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
