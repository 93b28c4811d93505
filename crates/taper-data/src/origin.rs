//! The source of a data set.

use crate::Fetched;

/// The source of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The argument with which [`Dataset::open`](crate::Dataset::open) reads the same data again, from any working
    /// directory: `digits`, a name with the commit (`cifar100@0123…`), or the absolute path of a folder.
    pub name: String,
    /// The files from the hub or its cache; empty for a folder and for `digits`.
    pub files: Vec<Fetched>,
}

impl Origin {
    /// The commit of the files from the hub.
    pub fn commit(&self) -> Option<&str> {
        Some(&self.files.first()?.commit)
    }
}
