//! Shape inference.

pub use crate::infer::windows;

use crate::{Graph, GraphError, Op};

/// Shape of the value of `op` on the nodes `inputs` of a graph, for one image.
///
/// # Errors
/// If an input or tensor does not exist or does not fit; the message names it.
pub fn of(graph: &Graph, op: &Op, inputs: &[usize]) -> Result<Vec<usize>, GraphError> {
    graph.shape_of(op, inputs)
}
