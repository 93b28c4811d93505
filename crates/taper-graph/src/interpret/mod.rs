//! A scalar interpreter: the specification of the results of a graph.
//!
//! Sums are computed in f64, and values are rounded to f32 between nodes. Two rules hold for every implementation:
//!
//! - A weight of 0 is skipped, even where its input is infinite or NaN. The same holds for a batch norm with a factor
//!   of 0.
//! - Otherwise NaN and infinity follow IEEE arithmetic. A maximum is NaN if one of its values is NaN.

pub(crate) mod conv;
pub(crate) mod elementwise;
pub(crate) mod pool;
pub(crate) mod rearrange;
mod value;

pub(crate) use value::{Value, channels, pixels, sizes};

use crate::{Graph, GraphError, Node, Op, tensor::n_elements};

/// The results for consecutive images.
///
/// # Errors
/// If the graph is not valid, or `images` is not a whole number of images.
pub fn interpret(graph: &Graph, images: &[f32]) -> Result<Vec<f32>, GraphError> {
    graph.check()?;
    let dims = graph.input_dims();
    let size = n_elements(dims).unwrap_or(0);
    if size == 0 || !images.len().is_multiple_of(size) {
        let n = images.len();
        return Err(GraphError::new(format!(
            "{n} values are not a whole number of images of shape {dims:?}"
        )));
    }
    let mut results = Vec::new();
    for image in images.chunks_exact(size) {
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let input = |&i: &usize| Value { dims: &graph.nodes[i].dims, values: &values[i] };
            let inputs: Vec<Value> = node.inputs.iter().map(input).collect();
            let value = match &node.op {
                Op::Input => image.to_vec(),
                _ => value_of(graph, node, &inputs)?,
            };
            values.push(value);
        }
        results.append(&mut values[graph.output]);
    }
    Ok(results)
}

/// The value of a node of a valid graph.
pub(crate) fn value_of(
    graph: &Graph,
    node: &Node,
    inputs: &[Value],
) -> Result<Vec<f32>, GraphError> {
    let no_input = || GraphError::new(format!("{} has no input", node.op.name()));
    let Some(&first) = inputs.first() else {
        return match &node.op {
            Op::Constant(name) => Ok(graph.tensor(name)?.values().to_vec()),
            _ => Err(no_input()),
        };
    };
    let second = inputs.get(1).copied().ok_or_else(no_input);
    let (from, to) = (sizes(first.dims), sizes(&node.dims));
    let values = match &node.op {
        Op::Input | Op::Constant(_) => return Err(no_input()),
        Op::Conv(conv) => {
            let mut sums = conv::biased(graph, conv.bias.as_deref(), &node.dims)?;
            conv::add(graph, conv, first, &mut sums, to)?;
            sums
        }
        Op::Linear { weight, bias } => {
            let mut sums = conv::biased(graph, bias.as_deref(), &node.dims)?;
            conv::add_linear(graph.tensor(weight)?, first, &mut sums);
            sums
        }
        Op::Fused(fused) => {
            let mut sums = conv::biased(graph, fused.bias.as_deref(), &node.dims)?;
            for (conv, &input) in fused.convs.iter().zip(inputs) {
                conv::add(graph, conv, input, &mut sums, to)?;
            }
            if let Some(residual) = inputs.get(fused.convs.len()) {
                let pixels = sums.iter_mut().zip(residual.values);
                pixels.for_each(|(sum, &x)| *sum += f64::from(x));
            }
            if let Some(activation) = fused.activation {
                sums.iter_mut().for_each(|x| *x = elementwise::activate(activation, *x));
            }
            sums
        }
        Op::Norm(norm) => {
            let affine = norm.affine(graph)?;
            let channels = affine.into_iter().enumerate();
            let pixels = pixels(first.dims);
            channels
                .flat_map(|(c, affine)| {
                    let plane = &first.values[c * pixels..][..pixels];
                    plane.iter().map(move |&x| affine.apply(f64::from(x)))
                })
                .collect()
        }
        Op::Add => elementwise::broadcast(first, second?, &node.dims, |a, b| a + b),
        Op::Multiply => elementwise::broadcast(first, second?, &node.dims, |a, b| a * b),
        Op::Concat => inputs.iter().flat_map(|input| input.each(|x| x)).collect(),
        Op::Softmax { axis } => elementwise::softmax(first, *axis),
        Op::Activation(_)
        | Op::Pad(_)
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::GlobalAverage
        | Op::GlobalMax
        | Op::Reshape(_)
        | Op::Upsample { .. } => first.each_plane(|plane| of_plane(&node.op, plane, from, to)),
    };
    Ok(values.into_iter().map(|x| x as f32).collect())
}

/// Applies a channel-wise operation to one channel of `from` pixels; the result has `to` pixels. Other operations
/// return the channel unchanged.
pub(crate) fn of_plane<T: Copy + Into<f64>>(
    op: &Op,
    plane: &[T],
    from: [usize; 2],
    to: [usize; 2],
) -> Vec<f64> {
    let pixels = plane.iter().map(|&x| x.into());
    match op {
        Op::Activation(activation) => {
            pixels.map(|x| elementwise::activate(*activation, x)).collect()
        }
        Op::Pad(pad) => rearrange::padded(plane, from, pad),
        Op::MaxPool(window) => pool::largest(plane, from, window, to),
        Op::AveragePool { window, counts_padding } => {
            pool::means(plane, from, window, to, *counts_padding)
        }
        Op::GlobalAverage => vec![pool::mean(plane)],
        Op::GlobalMax => vec![pool::maximum(plane)],
        Op::Upsample { factors } => rearrange::upsampled(plane, from, *factors),
        _ => pixels.collect(),
    }
}

#[cfg(test)]
mod tests;
