//! Reads safetensors files of every kind: dense, bitmask and CSR.

use crate::{
    bitmask, csr,
    numbers::{self, Numbers},
    source::{Source, missing},
    sparse::StatedShapes,
};
use std::collections::{BTreeMap, BTreeSet};
use taper_train::checkpoint::RawFile;

/// A file in memory.
#[derive(Debug)]
pub(crate) struct Stored {
    file: RawFile,
    stated: StatedShapes,
}

impl Stored {
    pub(crate) fn new(file: RawFile) -> Self {
        let stated = StatedShapes::of(&file.metadata, csr::SHAPES);
        Self { file, stated }
    }
}

impl Source for Stored {
    fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.file.metadata)
    }

    fn names(&self) -> BTreeSet<String> {
        let modules = bitmask::modules(&self.file);
        let rows = csr::names(&self.file);
        let is_part = |name: &str| match name.rsplit_once('.') {
            Some((of, part)) => {
                bitmask::is_part(part) && modules.contains(&of)
                    || csr::is_part(part) && rows.contains(&of)
            }
            None => false,
        };
        let plain = self.file.tensors.keys().filter(|name| !is_part(name)).cloned();
        let masked = modules.iter().map(|module| format!("{module}.weight"));
        plain.chain(masked).chain(rows.iter().map(|name| (*name).to_string())).collect()
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        Ok(shape(&self.file, name))
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, String> {
        let file = &self.file;
        let module = name.strip_suffix(".weight").unwrap_or(name);
        if file.tensors.contains_key(&format!("{module}.bitmask")) {
            bitmask::weight(&file.tensors, module, shape).map(Numbers::Floats)
        } else if file.tensors.contains_key(&format!("{name}.indptr")) {
            self.stated.check(name, shape)?;
            csr::weight(file, name, shape).map(Numbers::Floats)
        } else {
            numbers(file, name)
        }
    }
}

/// Shape of a tensor that is not packed.
pub(crate) fn shape(file: &RawFile, name: &str) -> Option<Vec<usize>> {
    file.tensors.get(name).map(|raw| raw.shape.clone())
}

/// Values of a tensor that is not packed.
pub(crate) fn numbers(file: &RawFile, name: &str) -> Result<Numbers, String> {
    let raw = file.tensors.get(name).ok_or_else(|| missing(name))?;
    numbers::of(raw).map_err(|e| format!("tensor {name}: {e}"))
}
