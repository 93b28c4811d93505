//! Several operations that are one: activations and biases as exporters decompose them.

use taper_graph::{Activation, Conv, Graph, GraphError, Op, Tensor};

/// A graph in which these are one operation, without what its output does not depend on:
///
/// | operations | one |
/// | --- | --- |
/// | `x · sigmoid(x)` | SiLU |
/// | `clip(x + 3, 0, 6) / 6` | hard sigmoid |
/// | `x · hard_sigmoid(x)`, `x · clip(x + 3, 0, 6) / 6` | hard swish |
/// | a convolution or linear layer, and a constant for each channel that is added | its bias |
///
/// # Errors
/// If the graph is not valid.
pub(crate) fn simplify(graph: &Graph) -> Result<Graph, GraphError> {
    let readers = readers(graph);
    let mut simple = Graph::new(graph.input_dims());
    simple.tensors.clone_from(&graph.tensors);
    let mut places = vec![Graph::INPUT];
    for node in graph.nodes.iter().skip(1) {
        let inputs: Vec<usize> = node.inputs.iter().map(|&i| places[i]).collect();
        let is_alone = |i: usize| node.inputs.get(i).is_some_and(|&i| readers[i] == 1);
        let found = match (&node.op, &inputs[..]) {
            (Op::Multiply, &[a, b]) => product(&simple, a, b).or_else(|| product(&simple, b, a)),
            (Op::Add, &[a, b]) if is_alone(0) => biased(&mut simple, a, b),
            _ => None,
        };
        let found = found.or_else(|| match (&node.op, &inputs[..]) {
            (Op::Add, &[a, b]) if is_alone(1) => biased(&mut simple, b, a),
            _ => None,
        });
        places.push(match found {
            Some((op, input)) => simple.push(op, &[input])?,
            None => simple.push(node.op.clone(), &inputs)?,
        });
    }
    simple.output = places[graph.output];
    live(&simple)
}

/// Number of nodes that read each node; the output is read once more.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.nodes.len()];
    readers[graph.output] += 1;
    graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|&i| readers[i] += 1);
    readers
}

/// The operation that multiplying `a` by `b` is, and its input.
fn product(graph: &Graph, a: usize, b: usize) -> Option<(Op, usize)> {
    let one = |of: Activation, input: usize| Some((Op::Activation(of), input));
    let factor = &graph.nodes[b];
    if let (Op::Activation(of), [input]) = (&factor.op, &factor.inputs[..])
        && *input == a
    {
        match *of {
            Activation::Sigmoid => return one(Activation::Silu, a),
            of if is_hard_sigmoid(of) => return one(Activation::HardSwish, a),
            _ => {}
        }
    }
    if !is_uniform(graph, b, 1.0 / 6.0) {
        return None;
    }
    if let Some(input) = clipped(graph, a) {
        return one(Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, input);
    }
    match (&graph.nodes[a].op, &graph.nodes[a].inputs[..]) {
        (Op::Multiply, &[x, y]) if clipped(graph, y) == Some(x) => one(Activation::HardSwish, x),
        (Op::Multiply, &[x, y]) if clipped(graph, x) == Some(y) => one(Activation::HardSwish, y),
        _ => None,
    }
}

fn is_hard_sigmoid(of: Activation) -> bool {
    matches!(of, Activation::HardSigmoid { alpha, beta } if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5)
}

/// The `x` of `clip(x + 3, 0, 6)`.
fn clipped(graph: &Graph, node: usize) -> Option<usize> {
    let node = &graph.nodes[node];
    let (Op::Activation(Activation::RELU6), &[sum]) = (&node.op, &node.inputs[..]) else {
        return None;
    };
    match (&graph.nodes[sum].op, &graph.nodes[sum].inputs[..]) {
        (Op::Add, &[x, three]) if is_uniform(graph, three, 3.0) => Some(x),
        (Op::Add, &[three, x]) if is_uniform(graph, three, 3.0) => Some(x),
        _ => None,
    }
}

/// Whether a node is one number, and this.
fn is_uniform(graph: &Graph, node: usize, value: f32) -> bool {
    match &graph.nodes[node].op {
        Op::Constant(name) => {
            graph.tensors.get(name).is_some_and(|tensor| tensor.values() == [value])
        }
        _ => false,
    }
}

/// The layer with a bias that adding `b` to `a` is, and its input.
fn biased(graph: &mut Graph, a: usize, b: usize) -> Option<(Op, usize)> {
    let (layer, Op::Constant(name)) = (&graph.nodes[a], &graph.nodes[b].op) else { return None };
    let (input, mut op) = (*layer.inputs.first()?, layer.op.clone());
    let (Op::Linear { bias, .. } | Op::Conv(Conv { bias, .. })) = &mut op else { return None };
    let values = graph.tensors.get(name)?;
    let (channels, rest) = values.dims().split_first()?;
    if bias.is_some() || layer.dims.first() != Some(channels) || rest.iter().any(|&n| n != 1) {
        return None;
    }
    let values = Tensor::new(&[*channels], values.values()).ok()?;
    let name = if rest.is_empty() { name.clone() } else { format!("{name}.channels") };
    if graph.tensors.get(&name).is_some_and(|other| *other != values) {
        return None;
    }
    *bias = Some(name.clone());
    graph.add_tensor(name, values);
    Some((op, input))
}

/// A graph without the nodes and tensors that its output does not depend on.
fn live(graph: &Graph) -> Result<Graph, GraphError> {
    let mut is_live = vec![false; graph.nodes.len()];
    is_live[graph.output] = true;
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if is_live[i] {
            node.inputs.iter().for_each(|&input| is_live[input] = true);
        }
    }
    let mut rest = Graph::new(graph.input_dims());
    let mut places = vec![Graph::INPUT; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().skip(1).filter(|&(i, _)| is_live[i]) {
        for name in node.op.tensors() {
            rest.add_tensor(name, graph.tensor(name)?.clone());
        }
        let inputs: Vec<usize> = node.inputs.iter().map(|&i| places[i]).collect();
        places[i] = rest.push(node.op.clone(), &inputs)?;
    }
    rest.output = places[graph.output];
    Ok(rest)
}
