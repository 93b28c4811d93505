//! The shape that an operation gives.

pub use crate::infer::windows;

use crate::{Graph, GraphError, Op};

/// Shape of the value of `op` behind the nodes `inputs` of a graph, for one image.
///
/// # Errors
/// If an input or tensor is not there or does not fit; the message names it.
pub fn of(graph: &Graph, op: &Op, inputs: &[usize]) -> Result<Vec<usize>, GraphError> {
    graph.shape_of(op, inputs)
}
