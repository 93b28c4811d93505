//! Convolution and its two gradients, in NCHW.
//!
//! [`scalar`] is the specification. The functions here lower each image to a matrix (one row a weight position,
//! one column an output pixel) and multiply; a 1×1 convolution of stride 1 needs no lowering, and a linear layer
//! is one on a 1×1 plane.

pub mod blocked;
mod lower;
pub mod scalar;
mod shape;

pub use shape::ConvShape;

use crate::matmul::{Matrix, matmul};
use rayon::prelude::*;

/// `out[n, o, y, x] = Σ weight[o, i, ky, kx]·input[n, i, …]`; no bias.
///
/// # Panics
/// If a slice's length is not what `shape` says.
pub fn forward(shape: &ConvShape, input: &[f32], weight: &[f32], out: &mut [f32]) {
    shape.check(input, weight, out);
    if shape.out_image() == 0 {
        return;
    }
    out.par_chunks_mut(shape.out_image()).zip(input.par_chunks(shape.in_image())).for_each_init(
        Vec::new,
        |buffer, (out, image)| {
            for g in 0..shape.groups {
                let columns = lower::columns(shape, &image[shape.in_range(g)], buffer);
                matmul(
                    group_weight(shape, weight, g),
                    columns,
                    &mut out[shape.out_range(g)],
                    false,
                );
            }
        },
    );
}

/// Gradient of the input, from that of the output.
///
/// # Panics
/// If a slice's length is not what `shape` says.
pub fn grad_input(shape: &ConvShape, weight: &[f32], grad_out: &[f32], grad_input: &mut [f32]) {
    shape.check(grad_input, weight, grad_out);
    if shape.in_image() == 0 {
        return;
    }
    let pixels = shape.out_pixels();
    grad_input
        .par_chunks_mut(shape.in_image())
        .zip(grad_out.par_chunks(shape.out_image()))
        .for_each_init(Vec::new, |buffer, (grad_image, grad_out)| {
            for g in 0..shape.groups {
                let weight = group_weight(shape, weight, g).t();
                let grad_out =
                    Matrix::new(&grad_out[shape.out_range(g)], shape.group_out(), pixels);
                let grad_image = &mut grad_image[shape.in_range(g)];
                if shape.is_pointwise() {
                    matmul(weight, grad_out, grad_image, false);
                } else {
                    buffer.resize(shape.taps() * pixels, 0.0);
                    matmul(weight, grad_out, buffer, false);
                    grad_image.fill(0.0);
                    lower::add_back(shape, buffer, grad_image);
                }
            }
        });
}

/// Gradient of the weight, from that of the output; summed over the batch.
///
/// The batch is cut into a number of runs that depends on the batch alone; each is summed in order, and so are
/// their sums, so that the result does not depend on the number of threads.
///
/// # Panics
/// If a slice's length is not what `shape` says.
pub fn grad_weight(shape: &ConvShape, input: &[f32], grad_out: &[f32], grad_weight: &mut [f32]) {
    shape.check(input, grad_weight, grad_out);
    grad_weight.fill(0.0);
    if shape.batch == 0 || shape.out_image() == 0 || shape.in_image() == 0 {
        return;
    }
    let run = shape.batch.div_ceil(MAX_RUNS);
    let partial_sums: Vec<Vec<f32>> = input
        .par_chunks(run * shape.in_image())
        .zip(grad_out.par_chunks(run * shape.out_image()))
        .map(|(images, grads)| {
            let (mut sum, mut buffer) = (vec![0.0; shape.n_weights()], Vec::new());
            for (image, grad) in
                images.chunks(shape.in_image()).zip(grads.chunks(shape.out_image()))
            {
                for g in 0..shape.groups {
                    let columns = lower::columns(shape, &image[shape.in_range(g)], &mut buffer);
                    let grad = Matrix::new(
                        &grad[shape.out_range(g)],
                        shape.group_out(),
                        shape.out_pixels(),
                    );
                    matmul(grad, columns.t(), &mut sum[shape.weight_range(g)], true);
                }
            }
            sum
        })
        .collect();
    for sum in partial_sums {
        for (total, part) in grad_weight.iter_mut().zip(sum) {
            *total += part;
        }
    }
}

/// Runs that a batch is cut into: enough to balance a few dozen threads, few enough that their sums stay small.
const MAX_RUNS: usize = 16;

fn group_weight<'a>(shape: &ConvShape, weight: &'a [f32], g: usize) -> Matrix<'a> {
    Matrix::new(&weight[shape.weight_range(g)], shape.group_out(), shape.taps())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn shapes() -> impl Strategy<Value = ConvShape> {
        (
            (0usize..20, 1usize..3, 1usize..4, 1usize..4),
            (1usize..9, 1usize..9, 1usize..4, 1usize..4),
            (1usize..4, 0usize..3, 1usize..3),
        )
            .prop_map(
                |(
                    (batch, groups, gin, gout),
                    (height, width, kh, kw),
                    (stride, padding, dilation),
                )| {
                    ConvShape {
                        batch,
                        channels_in: groups * gin,
                        channels_out: groups * gout,
                        height,
                        width,
                        kernel: (kh, kw),
                        stride,
                        padding,
                        dilation,
                        groups,
                    }
                },
            )
            .prop_filter("the kernel reaches past the padded plane", |s| s.out_size().is_some())
    }

    /// Small integers, so that sums are exact in any order and results can be compared to the bit.
    pub(crate) fn integers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 11) as f32 - 5.0).collect()
    }

    proptest! {
        #[test]
        fn every_shape_agrees_with_the_specification(shape in shapes()) {
            let input = integers(shape.batch * shape.in_image(), 1);
            let weight = integers(shape.n_weights(), 2);
            let grad = integers(shape.batch * shape.out_image(), 3);
            let (mut got, mut want) = (vec![9.0; grad.len()], vec![0.0; grad.len()]);
            forward(&shape, &input, &weight, &mut got);
            scalar::forward(&shape, &input, &weight, &mut want);
            prop_assert_eq!(&got, &want);
            let (mut got, mut want) = (vec![9.0; input.len()], vec![0.0; input.len()]);
            grad_input(&shape, &weight, &grad, &mut got);
            scalar::grad_input(&shape, &weight, &grad, &mut want);
            prop_assert_eq!(&got, &want);
            let (mut got, mut want) = (vec![9.0; weight.len()], vec![0.0; weight.len()]);
            grad_weight(&shape, &input, &grad, &mut got);
            scalar::grad_weight(&shape, &input, &grad, &mut want);
            prop_assert_eq!(&got, &want);
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let shape = ConvShape {
            batch: 37,
            channels_in: 5,
            channels_out: 6,
            height: 9,
            width: 7,
            kernel: (3, 3),
            stride: 1,
            padding: 1,
            dilation: 1,
            groups: 1,
        };
        let input: Vec<f32> =
            (0..shape.batch * shape.in_image()).map(|i| (i as f32 * 0.37).sin()).collect();
        let grad: Vec<f32> =
            (0..shape.batch * shape.out_image()).map(|i| (i as f32 * 0.73).cos()).collect();
        let of = |threads| {
            let mut out = vec![0.0; shape.n_weights()];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| grad_weight(&shape, &input, &grad, &mut out));
            out
        };
        assert_eq!(of(1), of(2));
        assert_eq!(of(1), of(5));
    }
}
