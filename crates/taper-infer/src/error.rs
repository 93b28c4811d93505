//! The errors of inference.

use std::fmt;
use taper_graph::{Graph, GraphError};

/// Why a network cannot be compiled or run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InferError {
    /// The graph is not valid, or the engine does not support one of its operations or shapes.
    Graph(GraphError),
    /// An option is outside its range.
    Options(String),
    /// The number or size of images or results does not fit the network.
    Images(String),
    /// The system cannot start a thread of a workspace, or has no memory for it.
    Threads(String),
    /// The workspace is from another engine.
    Workspace,
}

impl From<GraphError> for InferError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

impl InferError {
    /// This error, with the title of its node in front.
    pub(crate) fn at(self, graph: &Graph, node: usize) -> Self {
        match self {
            Self::Graph(error) => Self::Graph(error.at(graph, node)),
            other => other,
        }
    }
}

impl fmt::Display for InferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Graph(error) => error.fmt(f),
            Self::Options(message) | Self::Images(message) | Self::Threads(message) => {
                f.write_str(message)
            }
            Self::Workspace => {
                f.write_str("the workspace is from another engine; create one with this engine")
            }
        }
    }
}

impl std::error::Error for InferError {}
