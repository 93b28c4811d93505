//! Constant channels (they do not depend on the image), and their pixels.

use super::{channel::Channel, sum::Sum};
use crate::{
    Graph, GraphError, Op,
    interpret::{
        Value, channels,
        elementwise::{activate, broadcast},
        of_plane, pixels, sizes,
    },
    passes::tensors::spread,
};

/// The channels of each node. The graph must be valid and have no empty values.
pub(super) fn of(graph: &Graph) -> Result<Vec<Vec<Channel>>, GraphError> {
    let mut values: Vec<Vec<Channel>> = Vec::with_capacity(graph.nodes.len());
    for i in 0..graph.nodes.len() {
        let channels = channels_of(graph, i, &values)?;
        values.push(channels);
    }
    Ok(values)
}

fn channels_of(
    graph: &Graph,
    i: usize,
    values: &[Vec<Channel>],
) -> Result<Vec<Channel>, GraphError> {
    let node = &graph.nodes[i];
    let (n_channels, n_pixels) = (channels(&node.dims), pixels(&node.dims));
    let planes = |values: Vec<f64>| -> Vec<Channel> {
        values.chunks_exact(n_pixels).map(|plane| Some(plane.to_vec())).collect()
    };
    if let Some(sum) = Sum::of(graph, i)? {
        let are_constant = sum.are_constant(values);
        if !are_constant.contains(&true) {
            return Ok(vec![None; n_channels]);
        }
        let mut part = sum.constant_part(graph, values, true)?;
        if let Some(activation) = sum.activation {
            part.iter_mut().for_each(|x| *x = activate(activation, *x));
        }
        let part = spread(&part, n_channels * n_pixels).collect();
        let channels = planes(part).into_iter().zip(are_constant);
        return Ok(channels.map(|(plane, is_constant)| plane.filter(|_| is_constant)).collect());
    }
    let input = |k: usize| (&values[node.inputs[k]], &graph.nodes[node.inputs[k]].dims[..]);
    Ok(match &node.op {
        Op::Constant(name) => {
            planes(graph.tensor(name)?.values().iter().map(|&x| x.into()).collect())
        }
        Op::Norm(norm) => {
            let channels = norm.affine(graph)?.into_iter().zip(input(0).0);
            let channel = channels.map(|(affine, channel)| match channel {
                // With a factor of 0 the result is the shift.
                None if affine.scale == 0.0 => Some(vec![affine.shift; n_pixels]),
                channel => Some(channel.as_ref()?.iter().map(|&x| affine.apply(x)).collect()),
            });
            channel.collect()
        }
        op @ (Op::Add | Op::Multiply) => {
            let f: fn(f64, f64) -> f64 = match op {
                Op::Add => |a, b| a + b,
                _ => |a, b| a * b,
            };
            let [(a, a_dims), (b, b_dims)] = [input(0), input(1)];
            let channel = |c: usize| {
                let value = |channels: &'_ [Channel]| channels[c % channels.len()].clone();
                let (a, b) = (value(a)?, value(b)?);
                let [a_dims, b_dims, dims] = [a_dims, b_dims, &node.dims[..]].map(one_channel);
                let (a, b) =
                    (Value { dims: &a_dims, values: &a }, Value { dims: &b_dims, values: &b });
                Some(broadcast(a, b, &dims, f))
            };
            (0..n_channels).map(channel).collect()
        }
        Op::Concat => node.inputs.iter().flat_map(|&input| values[input].clone()).collect(),
        Op::Reshape(_) => {
            let (channels, dims) = input(0);
            let n = pixels(dims);
            // A channel of the output is constant if all input channels in it are.
            let channel = |c: usize| {
                let elements = c * n_pixels..(c + 1) * n_pixels;
                elements.map(|e| channels[e / n].as_ref().map(|plane| plane[e % n])).collect()
            };
            (0..n_channels).map(channel).collect()
        }
        op @ (Op::Activation(_)
        | Op::Pad(_)
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::GlobalAverage
        | Op::GlobalMax
        | Op::Upsample { .. }) => {
            let (channels, dims) = input(0);
            let of = |plane: &Vec<f64>| of_plane(op, plane, sizes(dims), sizes(&node.dims));
            channels.iter().map(|channel| channel.as_ref().map(of)).collect()
        }
        _ => vec![None; n_channels],
    })
}

/// The shape of one channel.
fn one_channel(dims: &[usize]) -> Vec<usize> {
    dims.iter().enumerate().map(|(i, &size)| if i == 0 { 1 } else { size }).collect()
}
