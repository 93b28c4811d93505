//! Removal of nodes and tensors that the output does not need.

use super::rebuild::Rebuild;
use crate::{Graph, GraphError};

/// Removes nodes and tensors that the output does not need. The input stays.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::tests::{constant, conv, ops, passed, put, relu};

    #[test]
    fn nodes_and_tensors_that_the_output_does_not_need_are_removed() {
        let mut graph = Graph::new(&[1, 1, 2]);
        put(&mut graph, "unread", &[1], &[1.0]);
        constant(&mut graph, "constant", &[1], &[1.0]);
        let a = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[2.0], &[3.0]);
        conv(&mut graph, "b", a, [1, 1, 1, 1], &[2.0], &[3.0]);
        graph.output = relu(&mut graph, a);
        let passed = passed(drop_unread, &graph);
        assert_eq!(ops(&passed), ["convolution", "activation"]);
        assert_eq!(passed.tensors.keys().collect::<Vec<_>>(), ["a.bias", "a.weight"]);
        assert_eq!((passed.output, &passed.nodes[2].inputs[..]), (2, &[1][..]));
    }
}
