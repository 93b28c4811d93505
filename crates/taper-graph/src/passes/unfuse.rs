//! Splits fused operations into their parts.

use super::rebuild::Rebuild;
use crate::{Fused, Graph, GraphError, Op};

/// Splits each [`Op::Fused`] into convolutions, sums and an activation, which the file formats of other tools can
/// represent. A bias per channel becomes the bias of the first convolution. A bias per pixel is added as a constant.
///
/// # Errors
/// If the graph is not valid.
pub fn unfuse(graph: &Graph) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph)?;
    for (i, node) in graph.nodes.iter().enumerate() {
        match &node.op {
            Op::Fused(fused) => parts(graph, &mut rebuild, i, fused)?,
            _ => rebuild.copy(i)?,
        }
    }
    rebuild.finish()
}

/// Adds the parts of a fused operation, in the order in which they are computed.
fn parts(
    graph: &Graph,
    rebuild: &mut Rebuild,
    node: usize,
    fused: &Fused,
) -> Result<(), GraphError> {
    let inputs = rebuild.places(&graph.nodes[node].inputs)?;
    let mut bias = match &fused.bias {
        Some(name) => Some((rebuild.keep(name)?, graph.tensor(name)?.dims().len() == 1)),
        None => None,
    };
    let mut summands = Vec::with_capacity(inputs.len() + 1);
    for (conv, &input) in fused.convs.iter().zip(&inputs) {
        let mut conv = conv.clone();
        conv.weight = rebuild.keep(&conv.weight)?;
        conv.bias = bias.take_if(|(_, is_of_channels)| *is_of_channels).map(|(name, _)| name);
        summands.push(rebuild.push(node, Op::Conv(conv), &[input])?);
    }
    if let Some((name, _)) = bias {
        summands.push(rebuild.push(node, Op::Constant(name), &[])?);
    }
    summands.extend(inputs.get(fused.convs.len()));
    // A valid fused operation has a convolution.
    let Some((&first, rest)) = summands.split_first() else { return rebuild.copy(node) };
    let mut place = first;
    for &summand in rest {
        place = rebuild.push(node, Op::Add, &[place, summand])?;
    }
    if let Some(activation) = fused.activation {
        place = rebuild.push(node, Op::Activation(activation), &[place])?;
    }
    rebuild.stand(node, place);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ActivationFn, Conv, Window,
        passes::tests::{ops, passed, push, put},
    };

    /// A fused operation of two convolutions with a bias of this shape, a residual input and an activation.
    fn fused(bias: &[usize]) -> Graph {
        let mut graph = Graph::new(&[1, 1, 2]);
        put(&mut graph, "a", &[1, 1, 1, 1], &[2.0]);
        put(&mut graph, "b", &[1, 1, 1, 1], &[3.0]);
        put(&mut graph, "bias", bias, &[4.0, 5.0][..bias.iter().product()]);
        let convs = ["a", "b"].map(|name| Conv::new(name, Window::same(1))).to_vec();
        let (bias, activation) = (Some("bias".into()), Some(ActivationFn::Relu));
        let op = Op::Fused(Fused { convs, bias, residual: true, activation });
        graph.output = push(&mut graph, op, &[0, 0, 0]);
        graph.nodes[graph.output].name = "name".into();
        graph
    }

    #[test]
    fn the_parts_of_a_fused_operation_have_its_name() {
        let graph = passed(unfuse, &fused(&[1]));
        assert_eq!(ops(&graph), ["convolution", "convolution", "add", "add", "activation"]);
        let biases: Vec<Option<&str>> = graph.nodes[1..3]
            .iter()
            .map(|node| match &node.op {
                Op::Conv(conv) => conv.bias.as_deref(),
                op => panic!("{op:?}"),
            })
            .collect();
        assert_eq!(biases, [Some("bias"), None]);
        assert!(graph.nodes[1..].iter().all(|node| node.name == "name"));
    }

    #[test]
    fn a_bias_of_each_pixel_is_added() {
        let graph = passed(unfuse, &fused(&[1, 1, 2]));
        let expected =
            ["convolution", "convolution", "constant", "add", "add", "add", "activation"];
        assert_eq!(ops(&graph), expected);
    }
}
