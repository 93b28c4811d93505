//! What is wrong with a file.

use std::fmt;

/// A file that is not read. The message names the node, tensor or value, what is supported, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxError(String);

impl OnnxError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OnnxError {}
