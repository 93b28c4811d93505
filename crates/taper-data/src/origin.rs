//! Where the files of a data set came from, in words that find them again.

use crate::Fetched;

/// Where a data set was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What [`Dataset::open`](crate::Dataset::open) takes to read the same again, in whatever folder it is called:
    /// `digits`, a name with the commit (`cifar100@0123…`), or the absolute path of a folder.
    pub name: String,
    /// The files that were fetched from the hub, or found in its cache; none of a folder.
    pub files: Vec<Fetched>,
}

impl Origin {
    /// The commit of the hub's files.
    pub fn commit(&self) -> Option<&str> {
        Some(&self.files.first()?.commit)
    }
}
