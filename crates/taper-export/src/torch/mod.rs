//! Reads PyTorch state dicts.
//!
//! Nothing in a file is executed. The container (a zip archive, or the legacy format before version 1.6) locates the
//! pickle and the storages. The pickle describes each tensor as a view of a storage.

mod archive;
mod entry;
mod legacy;
mod pickle;
mod rebuild;
mod state_dict;
mod view;

use crate::{
    numbers::{self, Numbers},
    source::{Source, missing},
};
use entry::Entry;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The tensors of a state dict.
pub(crate) struct StateDict {
    bytes: Vec<u8>,
    entries: BTreeMap<String, Entry>,
}

impl fmt::Debug for StateDict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateDict").field(&self.entries).finish()
    }
}

impl StateDict {
    /// Reads the descriptions of all tensors.
    ///
    /// # Errors
    /// Names the defect, or what the file is instead.
    pub(crate) fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let entries = match bytes.starts_with(b"PK") {
            true => archive::entries(&bytes)?,
            false => legacy::entries(&bytes)?,
        };
        Ok(Self { bytes, entries })
    }
}

impl Source for StateDict {
    fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    fn names(&self) -> BTreeSet<String> {
        self.entries.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        match self.entries.get(name) {
            Some(Ok(view)) => Ok(Some(view.shape.clone())),
            Some(Err(e)) => Err(format!("tensor {name}: {e}")),
            None => Ok(None),
        }
    }

    fn numbers(&self, name: &str, _: &[usize]) -> Result<Numbers, String> {
        let entry = self.entries.get(name).ok_or_else(|| missing(name))?;
        let gathered = entry.as_ref().map_err(Clone::clone).and_then(|view| {
            let storage = self.bytes.get(view.storage.clone()).unwrap_or_default();
            numbers::decode(view.dtype, &view.gather(storage)?)
        });
        gathered.map_err(|e| format!("tensor {name}: {e}"))
    }
}
