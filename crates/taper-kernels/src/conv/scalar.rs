//! The specification: the loops that define a convolution and its gradients.

use super::ConvShape;

/// See [`super::forward`].
pub fn forward(shape: &ConvShape, input: &[f32], weight: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    each_term(shape, |i, w, o| out[o] += weight[w] * input[i]);
}

/// See [`super::grad_input`].
pub fn grad_input(shape: &ConvShape, weight: &[f32], grad_out: &[f32], grad_input: &mut [f32]) {
    grad_input.fill(0.0);
    each_term(shape, |i, w, o| grad_input[i] += weight[w] * grad_out[o]);
}

/// See [`super::grad_weight`].
pub fn grad_weight(shape: &ConvShape, input: &[f32], grad_out: &[f32], grad_weight: &mut [f32]) {
    grad_weight.fill(0.0);
    each_term(shape, |i, w, o| grad_weight[w] += input[i] * grad_out[o]);
}

/// Calls `term` with the indices (input, weight, output) of every product of the convolution.
fn each_term(shape: &ConvShape, mut term: impl FnMut(usize, usize, usize)) {
    let (out_height, out_width) = shape.out_hw();
    let (kernel_h, kernel_w) = shape.kernel;
    for n in 0..shape.batch {
        for o in 0..shape.channels_out {
            let first_in = o / shape.group_out() * shape.group_in();
            for i in 0..shape.group_in() {
                for (ky, kx) in (0..kernel_h).flat_map(|ky| (0..kernel_w).map(move |kx| (ky, kx))) {
                    for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x)))
                    {
                        let (row, col) = (
                            y * shape.stride + ky * shape.dilation,
                            x * shape.stride + kx * shape.dilation,
                        );
                        let (Some(row), Some(col)) =
                            (row.checked_sub(shape.padding), col.checked_sub(shape.padding))
                        else {
                            continue;
                        };
                        if row < shape.height && col < shape.width {
                            term(
                                ((n * shape.channels_in + first_in + i) * shape.height + row)
                                    * shape.width
                                    + col,
                                ((o * shape.group_in() + i) * kernel_h + ky) * kernel_w + kx,
                                ((n * shape.channels_out + o) * out_height + y) * out_width + x,
                            );
                        }
                    }
                }
            }
        }
    }
}
