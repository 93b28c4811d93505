//! Removal of what the output does not need.

use super::rebuild::Rebuild;
use crate::{Graph, GraphError};

/// The graph without nodes and tensors that its output does not need. The input stays.
///
/// # Errors
/// If the graph is not valid.
pub fn drop_unread(graph: &Graph) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph)?;
    let mut is_read = vec![false; graph.nodes.len()];
    is_read[graph.output] = true;
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if is_read[i] {
            node.inputs.iter().for_each(|&input| is_read[input] = true);
        }
    }
    for node in (0..is_read.len()).filter(|&i| is_read[i]) {
        rebuild.copy(node)?;
    }
    rebuild.finish()
}
