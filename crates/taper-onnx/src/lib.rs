//! ONNX files as graphs of [`taper_graph`].
//!
//! [`open`] reads a network that PyTorch or another tool has exported: one image in, one result out, opset 11 to 22, with
//! constants folded and the batch left open. What a graph cannot hold is refused with the name of the node. Every file is
//! taken for hostile: nothing is allocated that its bytes do not justify.
//!
//! [`Tensors`] reads the initializers alone, and [`proto`] has the messages for writers.
#![forbid(unsafe_code)]

mod array;
mod attributes;
mod budget;
mod call;
mod error;
mod external;
mod importer;
mod numbers;
mod operators;
mod pass;
mod patterns;
pub mod proto;
mod sizes;
mod source;
mod stored;
mod stream;
mod tensors;
#[cfg(test)]
mod tests;
mod value;

pub use error::{LeftOpen, OnnxError};
pub use numbers::{DataType, Numbers};
pub use tensors::Tensors;

use std::path::Path;
use taper_graph::Graph;

/// What a file may leave open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Channels, rows and columns of an image, where the file fixes none. What it does fix must be the same.
    pub image: Option<[usize; 3]>,
    /// Name of the output to compute, of a network that has several.
    pub output: Option<String>,
}

/// Reads a file of one image and one output, both of fixed size.
///
/// # Errors
/// As [`Options::open`].
pub fn open(path: impl AsRef<Path>) -> Result<Graph, OnnxError> {
    Options::default().open(path)
}

impl Options {
    /// Reads a file, and those beside it that hold its weights.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or has an operator that is not supported; the message names the node.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Graph, OnnxError> {
        let path = path.as_ref();
        let read = || {
            let model = tensors::decode_file(path)?;
            pass::import(model, Some(path), self.image, self.output.as_deref())
        };
        read().map_err(|e| e.of_file(path))
    }

    /// Reads the bytes of a file. Weights in other files are looked for beside `file`, the path that the bytes come from.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(&self, bytes: &[u8], file: Option<&Path>) -> Result<Graph, OnnxError> {
        pass::import(tensors::decode(bytes)?, file, self.image, self.output.as_deref())
    }
}

/// Reads the bytes of a file with default options.
///
/// # Errors
/// As [`Options::open`].
pub fn read(bytes: &[u8], file: Option<&Path>) -> Result<Graph, OnnxError> {
    Options::default().read(bytes, file)
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
