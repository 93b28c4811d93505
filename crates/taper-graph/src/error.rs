//! The error of an invalid graph.

use std::fmt;

/// Why a graph cannot be computed. The message names the node or tensor, the value and the legal range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError(String);

impl GraphError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GraphError {}
