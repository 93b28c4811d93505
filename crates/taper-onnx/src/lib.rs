//! Reads ONNX files into graphs of [`taper_graph`].
//!
//! [`open`] reads a network from PyTorch or another tool: one image as input, one output, opset 11 to 22. Constants are
//! folded, and the batch size stays open. An operator that a graph cannot represent is an error with the name of the
//! node. Every file is treated as hostile: no allocation is out of proportion to the file.
//!
//! [`Tensors`] reads only the initializers. [`proto`] has the messages for writers.
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

/// Values for what a file may leave open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Channels, rows and columns of an image, if the file leaves them open. A size that the file fixes must be equal.
    pub image: Option<[usize; 3]>,
    /// Name of the output to compute, if the network has several.
    pub output: Option<String>,
}

/// Reads a file with one image as input and one output, both of fixed size.
///
/// # Errors
/// As [`Options::open`].
pub fn open(path: impl AsRef<Path>) -> Result<Graph, OnnxError> {
    Options::default().open(path)
}

impl Options {
    /// Reads a file, and the files next to it with its weights.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or has an unsupported operator. The message names the node.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Graph, OnnxError> {
        let path = path.as_ref();
        let read = || {
            let model = tensors::decode_file(path)?;
            pass::import(model, Some(path), self.image, self.output.as_deref())
        };
        read().map_err(|e| e.of_file(path))
    }

    /// Reads the bytes of a file. Weights in other files are read from the folder of `file`, the path of the bytes.
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
