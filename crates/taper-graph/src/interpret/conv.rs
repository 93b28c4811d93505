//! Convolutions and linear layers as sums over the weights that are not 0.

use super::{Value, channels, pixels, sizes};
use crate::{Conv, Graph, GraphError, Tensor, Window};

/// Sums that begin with a bias for each channel or pixel, or with 0.
pub(crate) fn biased(
    graph: &Graph,
    bias: Option<&str>,
    dims: &[usize],
) -> Result<Vec<f64>, GraphError> {
    let Some(name) = bias else { return Ok(vec![0.0; channels(dims) * pixels(dims)]) };
    let bias = graph.tensor(name)?;
    let each = if bias.dims() == dims { 1 } else { pixels(dims) };
    Ok(bias.values().iter().flat_map(|&b| std::iter::repeat_n(f64::from(b), each)).collect())
}

/// Adds a convolution to sums on planes of `to` pixels.
pub(crate) fn add(
    graph: &Graph,
    conv: &Conv,
    input: Value,
    sums: &mut [f64],
    to: [usize; 2],
) -> Result<(), GraphError> {
    let (n_in, n_out) = (pixels(input.dims), to[0] * to[1]);
    for (o, i, taps) in kernels(graph.tensor(&conv.weight)?, conv.groups) {
        let (plane, sums) = (&input.values[i * n_in..][..n_in], &mut sums[o * n_out..][..n_out]);
        add_plane(taps, plane, sizes(input.dims), &conv.window, sums, to);
    }
    Ok(())
}

/// Adds the products of a linear layer.
pub(crate) fn add_linear(weight: &Tensor, input: Value, sums: &mut [f64]) {
    for (o, i, weight) in kernels(weight, 1) {
        if weight[0] != 0.0 {
            sums[o] += f64::from(weight[0]) * f64::from(input.values[i]);
        }
    }
}

/// The kernel of each pair of output and input channel: the channels, and its taps. A weight `[out, in]` has one tap.
pub(crate) fn kernels(
    weight: &Tensor,
    groups: usize,
) -> impl Iterator<Item = (usize, usize, &[f32])> {
    let outputs = 0..channels(weight.dims());
    outputs.flat_map(move |o| row(weight, groups, o).map(move |(i, taps)| (o, i, taps)))
}

/// The kernels of one output channel, with their input channels.
pub(crate) fn row(
    weight: &Tensor,
    groups: usize,
    o: usize,
) -> impl Iterator<Item = (usize, &[f32])> {
    let (dims, n) = (weight.dims(), pixels(weight.dims()));
    let (each, taps) = (dims[1], n / dims[1].max(1));
    let first = o / (dims[0] / groups) * each;
    let kernels = weight.values()[o * n..][..n].chunks_exact(taps.max(1));
    kernels.enumerate().map(move |(i, taps)| (first + i, taps))
}

/// Adds what one plane gives to one output channel.
pub(crate) fn add_plane<T: Copy + Into<f64>>(
    taps: &[f32],
    plane: &[T],
    from: [usize; 2],
    window: &Window,
    sums: &mut [f64],
    to: [usize; 2],
) {
    for (tap, &weight) in taps.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
        let (down, across) = (tap / window.kernel[1], tap % window.kernel[1]);
        for row in 0..to[0] {
            let Some(y) = window.pixel(0, row, down, from[0]) else { continue };
            for column in 0..to[1] {
                if let Some(x) = window.pixel(1, column, across, from[1]) {
                    sums[row * to[1] + column] += f64::from(weight) * plane[y * from[1] + x].into();
                }
            }
        }
    }
}
