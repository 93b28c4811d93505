//! Convolution and its two gradients, in NCHW.
//!
//! [`scalar`] is the specification. The functions here lower each image to a matrix (im2col: one row per weight
//! position, one column per output pixel) and multiply. A 1×1 convolution of stride 1 needs no lowering. A linear layer
//! is a convolution of a 1×1 plane, and one product for the whole batch.
//!
//! The order of every sum depends on the shape alone. Results are therefore bit-identical for any instruction set,
//! number of threads and cache size.

pub mod blocked;
mod lower;
pub mod scalar;
mod shape;

pub use shape::ConvShape;

use crate::{
    matmul::{Matrix, matmul},
    simd::Variant,
};
use rayon::prelude::*;

/// `out[n, o, y, x] = Σ weight[o, i, ky, kx]·input[n, i, …]`; no bias.
///
/// # Panics
/// If the length of a slice does not fit `shape`.
pub fn forward(shape: &ConvShape, input: &[f32], weight: &[f32], out: &mut [f32]) {
    shape.check(input, weight, out);
    if shape.out_image() == 0 || shape.in_image() == 0 {
        return out.fill(0.0);
    }
    let variant = Variant::current();
    if shape.is_linear() {
        let weight = group_weight(shape, weight, 0);
        let input = Matrix::new(input, shape.batch, shape.channels_in);
        return matmul(variant, input, weight.t(), out, false);
    }
    out.par_chunks_mut(shape.out_image()).zip(input.par_chunks(shape.in_image())).for_each_init(
        Vec::new,
        |buffer, (out, image)| {
            for g in 0..shape.groups {
                let columns = lower::columns(shape, &image[shape.in_range(g)], buffer);
                let weight = group_weight(shape, weight, g);
                matmul(variant, weight, columns, &mut out[shape.out_range(g)], false);
            }
        },
    );
}

/// Gradient of the input, from the gradient of the output.
///
/// # Panics
/// If the length of a slice does not fit `shape`.
pub fn grad_input(shape: &ConvShape, weight: &[f32], grad_out: &[f32], grad_input: &mut [f32]) {
    shape.check(grad_input, weight, grad_out);
    if shape.in_image() == 0 || shape.out_image() == 0 {
        return grad_input.fill(0.0);
    }
    let variant = Variant::current();
    if shape.is_linear() {
        let grad_out = Matrix::new(grad_out, shape.batch, shape.channels_out);
        return matmul(variant, grad_out, group_weight(shape, weight, 0), grad_input, false);
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
                    matmul(variant, weight, grad_out, grad_image, false);
                } else {
                    buffer.resize(shape.taps() * pixels, 0.0);
                    matmul(variant, weight, grad_out, buffer, false);
                    grad_image.fill(0.0);
                    lower::add_back(shape, buffer, grad_image);
                }
            }
        });
}

/// Gradient of the weight, from the gradient of the output; summed over the batch, image by image.
///
/// # Panics
/// If the length of a slice does not fit `shape`.
pub fn grad_weight(shape: &ConvShape, input: &[f32], grad_out: &[f32], grad_weight: &mut [f32]) {
    shape.check(input, grad_weight, grad_out);
    grad_weight.fill(0.0);
    if shape.batch == 0 || shape.out_image() == 0 || shape.in_image() == 0 {
        return;
    }
    let variant = Variant::current();
    if shape.is_linear() {
        let input = Matrix::new(input, shape.batch, shape.channels_in);
        let grad_out = Matrix::new(grad_out, shape.batch, shape.channels_out);
        return matmul(variant, grad_out.t(), input, grad_weight, false);
    }
    // Groups, and rows within them, are split over the threads; images come one after the other.
    grad_weight.par_chunks_mut(shape.weight_range(0).len()).enumerate().for_each_init(
        Vec::new,
        |buffer, (g, sum)| {
            let images = input.chunks(shape.in_image()).zip(grad_out.chunks(shape.out_image()));
            for (image, grad) in images {
                let columns = lower::columns(shape, &image[shape.in_range(g)], buffer);
                let grad = &grad[shape.out_range(g)];
                let grad = Matrix::new(grad, shape.group_out(), shape.out_pixels());
                matmul(variant, grad, columns.t(), sum, true);
            }
        },
    );
}

/// Adds a bias to each output channel: `out[n, c, pixel] += bias[c]`.
///
/// # Panics
/// If `out` is not a whole number of images of `bias.len()` channels of `pixels` pixels.
pub fn add_bias(pixels: usize, bias: &[f32], out: &mut [f32]) {
    check_bias(pixels, bias, out);
    if pixels > 0 {
        let channels = out.chunks_exact_mut(pixels).zip(bias.iter().cycle());
        channels.for_each(|(out, bias)| out.iter_mut().for_each(|out| *out += bias));
    }
}

/// Gradient of the bias: the sum of each channel over pixels and images, in f64 and in their order.
///
/// # Panics
/// As [`add_bias`].
pub fn grad_bias(pixels: usize, grad_out: &[f32], grad_bias: &mut [f32]) {
    check_bias(pixels, grad_bias, grad_out);
    let channels = grad_bias.len();
    for (c, grad) in grad_bias.iter_mut().enumerate() {
        let planes = grad_out.chunks_exact(pixels.max(1)).skip(c).step_by(channels);
        *grad = planes.flatten().map(|&g| f64::from(g)).sum::<f64>() as f32;
    }
}

fn check_bias(pixels: usize, bias: &[f32], out: &[f32]) {
    let image = crate::sizes::product([pixels, bias.len()]);
    assert!(out.len().is_multiple_of(image.max(1)), "images of {} x {pixels}", bias.len());
}

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

    /// Small integers: sums are exact in any order, and results can be compared bit by bit.
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
