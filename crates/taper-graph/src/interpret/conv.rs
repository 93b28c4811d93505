//! Convolutions and linear layers as sums over the weights that are not 0.

use super::{Value, channels, pixels, sizes};
use crate::{Conv, Graph, GraphError, Tensor, Window};

/// Sums that start at the bias of each channel or pixel, or at 0.
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

/// Adds a convolution to `sums`, which have planes of `to` pixels.
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

/// The kernels: output channel, input channel and taps of each. A weight `[out, in]` has one tap.
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
    let (first, taps, weights) = row_of(weight, groups, o);
    weights.chunks_exact(taps).enumerate().map(move |(i, taps)| (first + i, taps))
}

/// The kernels of one output channel that have a weight other than 0, with their input channels.
pub(crate) fn reads(
    weight: &Tensor,
    groups: usize,
    o: usize,
) -> impl Iterator<Item = (usize, &[f32])> {
    let (first, taps, weights) = row_of(weight, groups, o);
    // Most kernels are 0, so several are compared at once.
    let is_read = |weights: &[f32]| weights.iter().fold(false, |any, &w| any | (w != 0.0));
    let n = (16 / taps).max(1);
    let parts = weights.chunks(n * taps).enumerate().filter(move |(_, part)| is_read(part));
    let kernels = parts.flat_map(move |(at, part)| {
        part.chunks_exact(taps).enumerate().map(move |(i, taps)| (first + at * n + i, taps))
    });
    kernels.filter(move |(_, taps)| is_read(taps))
}

/// For one output channel: its first input channel, the number of taps of a kernel (at least 1), and its weights.
fn row_of(weight: &Tensor, groups: usize, o: usize) -> (usize, usize, &[f32]) {
    let (dims, n) = (weight.dims(), pixels(weight.dims()));
    let first = o / (dims[0] / groups) * dims[1];
    (first, (n / dims[1].max(1)).max(1), &weight.values()[o * n..][..n])
}

/// Adds the contribution of one input plane to one output channel.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_returns_the_kernels_that_are_not_zero() {
        for (dims, groups) in [
            (&[3, 70][..], 1),
            (&[2, 33, 1, 1], 1),
            (&[4, 9, 3, 3], 1),
            (&[6, 20, 1, 2], 3),
            (&[4, 1, 5, 5], 4),
            (&[2, 0], 1),
        ] {
            let n: usize = dims.iter().product();
            for one_in in [1, 7, 50, 1000] {
                let weight = |i: usize| f32::from(u8::from(i % one_in == one_in / 2));
                let weight = Tensor::new(dims, (0..n).map(weight).collect::<Vec<f32>>()).unwrap();
                let found = (0..dims[0])
                    .flat_map(|o| reads(&weight, groups, o).map(move |(i, taps)| (o, i, taps)));
                let want = kernels(&weight, groups)
                    .filter(|(.., taps)| taps.iter().any(|&weight| weight != 0.0));
                assert!(found.eq(want), "{dims:?}, one in {one_in}");
            }
        }
    }
}
