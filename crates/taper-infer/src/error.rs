//! What can go wrong.

use std::fmt;
use taper_graph::{Graph, GraphError};

/// A network that cannot be compiled or run, or images that do not fit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InferError {
    /// The graph is not valid, or has an operation or shape that the engine lacks.
    Graph(GraphError),
    /// Options outside of their range.
    Options(String),
    /// Images or results of another number or size than the network's.
    Images(String),
    /// A thread of a workspace that the system does not start, or whose memory it refuses.
    Threads(String),
    /// A workspace of another engine.
    Workspace,
}

impl From<GraphError> for InferError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

impl InferError {
    /// This error, with the name of the node that has it.
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
                f.write_str("the workspace is that of another engine; take one from this engine")
            }
        }
    }
}

impl std::error::Error for InferError {}
