//! Recognizes activations that exporters decompose into several operations.

use taper_graph::{ActivationFn, Graph, GraphError, Op, passes::drop_unread};

/// Replaces these patterns by one operation, and removes nodes that the output does not depend on:
///
/// | pattern | operation |
/// | --- | --- |
/// | `x · sigmoid(x)` | SiLU |
/// | `clip(x + 3, 0, 6) / 6` | hard sigmoid |
/// | `x · hard_sigmoid(x)`, `x · clip(x + 3, 0, 6) / 6` | hard swish |
///
/// # Errors
/// If the graph is not valid.
pub(crate) fn simplify(graph: &Graph) -> Result<Graph, GraphError> {
    let mut simple = Graph::new(graph.input_dims());
    simple.tensors.clone_from(&graph.tensors);
    simple.nodes[Graph::INPUT].name.clone_from(&graph.nodes[Graph::INPUT].name);
    let mut places = vec![Graph::INPUT];
    for node in graph.nodes.iter().skip(1) {
        let inputs: Vec<usize> = node.inputs.iter().map(|&i| places[i]).collect();
        let found = match (&node.op, &inputs[..]) {
            (Op::Multiply, &[a, b]) => product(&simple, a, b).or_else(|| product(&simple, b, a)),
            _ => None,
        };
        let place = match found {
            Some((op, input)) => simple.push(op, &[input])?,
            None => simple.push(node.op.clone(), &inputs)?,
        };
        simple.nodes[place].name.clone_from(&node.name);
        places.push(place);
    }
    simple.output = places[graph.output];
    drop_unread(&simple)
}

/// The activation that `a · b` computes, and its input.
fn product(graph: &Graph, a: usize, b: usize) -> Option<(Op, usize)> {
    let one = |of: ActivationFn, input: usize| Some((Op::Activation(of), input));
    let factor = &graph.nodes[b];
    if let (Op::Activation(of), [input]) = (&factor.op, &factor.inputs[..])
        && *input == a
    {
        match *of {
            ActivationFn::Sigmoid => return one(ActivationFn::Silu, a),
            of if is_hard_sigmoid(of) => return one(ActivationFn::HardSwish, a),
            _ => {}
        }
    }
    if !is_uniform(graph, b, 1.0 / 6.0) {
        return None;
    }
    if let Some(input) = clipped(graph, a) {
        return one(ActivationFn::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, input);
    }
    match (&graph.nodes[a].op, &graph.nodes[a].inputs[..]) {
        (Op::Multiply, &[x, y]) if clipped(graph, y) == Some(x) => one(ActivationFn::HardSwish, x),
        (Op::Multiply, &[x, y]) if clipped(graph, x) == Some(y) => one(ActivationFn::HardSwish, y),
        _ => None,
    }
}

fn is_hard_sigmoid(of: ActivationFn) -> bool {
    matches!(of, ActivationFn::HardSigmoid { alpha, beta } if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5)
}

/// The `x`, if the node is `clip(x + 3, 0, 6)`.
fn clipped(graph: &Graph, node: usize) -> Option<usize> {
    let node = &graph.nodes[node];
    let (Op::Activation(ActivationFn::RELU6), &[sum]) = (&node.op, &node.inputs[..]) else {
        return None;
    };
    match (&graph.nodes[sum].op, &graph.nodes[sum].inputs[..]) {
        (Op::Add, &[x, three]) if is_uniform(graph, three, 3.0) => Some(x),
        (Op::Add, &[three, x]) if is_uniform(graph, three, 3.0) => Some(x),
        _ => None,
    }
}

/// Whether a node is a constant of exactly this number.
fn is_uniform(graph: &Graph, node: usize, value: f32) -> bool {
    match &graph.nodes[node].op {
        Op::Constant(name) => {
            graph.tensors.get(name).is_some_and(|tensor| tensor.values() == [value])
        }
        _ => false,
    }
}
