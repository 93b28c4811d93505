//! The tensors of an ONNX file.

use crate::{numbers::Numbers, source::Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The initializers of a file by name. The graph is not read.
#[derive(Debug)]
pub(crate) struct Tensors {
    metadata: BTreeMap<String, String>,
    tensors: taper_onnx::Tensors,
}

impl Tensors {
    /// Reads the bytes of a file. Data in other files are read from the folder of `file`.
    pub(crate) fn read(bytes: &[u8], file: Option<&Path>) -> Result<Self, String> {
        let (metadata, tensors) =
            taper_onnx::Tensors::read(bytes, file).map_err(|e| e.to_string())?;
        Ok(Self { metadata, tensors })
    }
}

impl Source for Tensors {
    fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.metadata)
    }

    fn names(&self) -> BTreeSet<String> {
        self.tensors.names().map(String::from).collect()
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        self.tensors.shape(name).map_err(|e| e.to_string())
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, String> {
        self.tensors.numbers(name, shape).map_err(|e| e.to_string())
    }
}
