//! Folds batch norm into the layer before it.

use super::affine::{fold, of_norm};
use crate::{Graph, GraphError};

/// Folds each batch norm that follows a convolution or linear layer into the weight and bias of that layer. A layer
/// without bias gets one: `x.bias` for a weight `x.weight`. Zeros stay zeros. A batch norm after another operation, or
/// after a layer with another reader, stays.
///
/// # Errors
/// If the graph is not valid.
pub fn fold_norms(graph: &Graph) -> Result<Graph, GraphError> {
    fold(graph, |graph, node, _| of_norm(graph, node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Op,
        passes::tests::{conv, norm, ops, passed, push, put, relu, values},
    };

    #[test]
    fn weights_are_scaled_and_zeros_stay() {
        let mut graph = Graph::new(&[2, 2, 2]);
        let sum = conv(&mut graph, "a", 0, [3, 2, 1, 1], &[1.0, 0.0, 2.0, 3.0, 4.0, 5.0], &[]);
        graph.output = norm(&mut graph, sum, &[2.0, -0.5, 0.0], &[10.0, 20.0, 30.0]);
        let passed = passed(fold_norms, &graph);
        assert_eq!(ops(&passed), ["convolution"]);
        assert_eq!(values(&passed, "a.weight"), [2.0, 0.0, -1.0, -1.5, 0.0, 0.0]);
        assert_eq!(values(&passed, "a.bias"), [8.0, 20.5, 30.0]);
        assert_eq!(passed.tensors.len(), 2);
    }

    #[test]
    fn several_norms_are_folded_into_a_linear_layer_with_a_bias() {
        let mut graph = Graph::new(&[1]);
        put(&mut graph, "a.weight", &[1, 1], &[3.0]);
        put(&mut graph, "b", &[1], &[5.0]);
        let linear = Op::Linear { weight: "a.weight".into(), bias: Some("b".into()) };
        let sum = push(&mut graph, linear, &[0]);
        let once = norm(&mut graph, sum, &[2.0], &[1.0]);
        let op = graph.nodes[once].op.clone();
        graph.output = push(&mut graph, op, &[once]);
        let passed = passed(fold_norms, &graph);
        assert_eq!(ops(&passed), ["linear"]);
        assert_eq!((values(&passed, "a.weight"), values(&passed, "b")), (&[12.0][..], &[17.0][..]));
    }

    #[test]
    fn a_norm_stays_if_its_input_has_another_reader_or_is_no_layer() {
        let mut graph = Graph::new(&[1, 2, 2]);
        let sum = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[1.0], &[]);
        let read = norm(&mut graph, sum, &[2.0], &[1.0]);
        let both = push(&mut graph, Op::Concat, &[sum, read]);
        let active = relu(&mut graph, both);
        graph.output = active;
        assert_eq!(ops(&passed(fold_norms, &graph)), ops(&graph));
    }

    #[test]
    fn a_norm_is_not_folded_into_the_output() {
        let mut graph = Graph::new(&[1, 2, 2]);
        graph.output = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[1.0], &[]);
        norm(&mut graph, 1, &[2.0], &[1.0]);
        assert_eq!(values(&passed(fold_norms, &graph), "a.weight"), [1.0]);
    }

    #[test]
    fn a_shared_weight_keeps_its_name_and_values() {
        let mut graph = Graph::new(&[1, 1, 1]);
        let scaled = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[3.0], &[]);
        let op = graph.nodes[scaled].op.clone();
        let plain = push(&mut graph, op, &[0]);
        let scaled = norm(&mut graph, scaled, &[2.0], &[1.0]);
        graph.output = push(&mut graph, Op::Add, &[scaled, plain]);
        let passed = passed(fold_norms, &graph);
        assert_eq!(values(&passed, "a.weight"), [3.0]);
        assert_eq!(values(&passed, "a.weight.1"), [6.0]);
    }
}
