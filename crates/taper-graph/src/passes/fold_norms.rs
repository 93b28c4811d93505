//! Batch norm as part of the layer before it.

use super::affine::fold;
use crate::{
    Graph, GraphError, Op,
    interpret::elementwise::{Affine, affine},
};

/// The graph with each batch norm that follows a convolution or linear layer in its weight and bias. A layer that has no
/// bias gets one: `x.bias` for a weight `x.weight`. Zeros stay zeros. A batch norm behind something else, or behind a layer
/// that something else reads, stays.
///
/// # Errors
/// If the graph is not valid.
pub fn fold_norms(graph: &Graph) -> Result<Graph, GraphError> {
    fold(graph, |graph, node, _| of_norm(graph, node))
}

/// The functions of a batch norm, for each channel.
pub(super) fn of_norm(graph: &Graph, node: usize) -> Result<Option<Vec<Affine>>, GraphError> {
    match &graph.nodes[node].op {
        Op::Norm(norm) => affine(graph, norm).map(Some),
        _ => Ok(None),
    }
}
