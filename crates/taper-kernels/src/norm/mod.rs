//! Batch normalization (batch norm) over `[batch, channels, pixels]`, and its gradient.
//!
//! Sums are in f64 and in the order of the batch. They do not depend on the number of threads, and their accuracy
//! hardly depends on the size of the batch.

pub mod blocked;

use crate::sizes::product;
use rayon::prelude::*;

/// Sizes of a normalised activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormShape {
    /// Images.
    pub batch: usize,
    /// Channels; each has its own statistics.
    pub channels: usize,
    /// Pixels of one channel of one image.
    pub pixels: usize,
}

impl NormShape {
    fn image(&self) -> usize {
        product([self.channels, self.pixels])
    }

    /// Number of values in each channel's statistics.
    pub fn count(&self) -> usize {
        product([self.batch, self.pixels])
    }

    fn check(&self, x: &[f32]) {
        assert_eq!(x.len(), product([self.batch, self.image()]), "activation of {self:?}");
    }

    /// The planes of channel `c`, image by image.
    fn planes<'a>(&'a self, x: &'a [f32], c: usize) -> impl Iterator<Item = &'a [f32]> {
        (0..self.batch).map(move |n| &x[n * self.image() + c * self.pixels..][..self.pixels])
    }
}

/// Mean and biased variance of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Biased variance of each channel.
    pub var: Vec<f32>,
}

impl Stats {
    /// `1/√(var + eps)` of each channel.
    pub fn inverse_std(&self, eps: f64) -> Vec<f32> {
        self.var.iter().map(|&v| (1.0 / (f64::from(v) + eps).sqrt()) as f32).collect()
    }
}

/// Statistics of a batch.
///
/// # Panics
/// If the length of `x` does not fit `shape`.
pub fn stats(shape: &NormShape, x: &[f32]) -> Stats {
    shape.check(x);
    let count = shape.count() as f64;
    let (mean, var) = (0..shape.channels)
        .into_par_iter()
        .map(|c| {
            let mean = shape.planes(x, c).map(|p| sum(p, |v| v)).sum::<f64>() / count;
            let square = |v: f64| (v - mean) * (v - mean);
            let var = shape.planes(x, c).map(|p| sum(p, square)).sum::<f64>() / count;
            (mean as f32, var as f32)
        })
        .unzip();
    Stats { mean, var }
}

/// `y = scale·x + shift` per channel: batch norm with known statistics.
///
/// # Panics
/// If the lengths do not fit `shape`.
pub fn affine(shape: &NormShape, x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
    shape.check(x);
    shape.check(y);
    assert!(
        scale.len() == shape.channels && shift.len() == shape.channels,
        "one scale and shift per channel"
    );
    if shape.image() == 0 {
        return;
    }
    y.par_chunks_mut(shape.image()).zip(x.par_chunks(shape.image())).for_each(|(y, x)| {
        let planes = y.chunks_mut(shape.pixels).zip(x.chunks(shape.pixels));
        for ((y, x), (&scale, &shift)) in planes.zip(scale.iter().zip(shift)) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = scale * x + shift;
            }
        }
    });
}

/// Gradients of batch norm with batch statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct NormGrads {
    /// Gradient of the input.
    pub x: Vec<f32>,
    /// Gradient of the weight γ.
    pub weight: Vec<f32>,
    /// Gradient of the bias β.
    pub bias: Vec<f32>,
}

/// Gradients of `y = γ·(x − mean)·inverse_std + β`, where mean and variance are those of the batch.
///
/// # Panics
/// If the lengths do not fit `shape`.
pub fn backward(
    shape: &NormShape,
    x: &[f32],
    stats: &Stats,
    eps: f64,
    weight: &[f32],
    grad_y: &[f32],
) -> NormGrads {
    shape.check(x);
    shape.check(grad_y);
    let (inverse_std, count) = (stats.inverse_std(eps), shape.count() as f64);
    let sums: Vec<(f64, f64)> = (0..shape.channels)
        .into_par_iter()
        .map(|c| {
            let mean = f64::from(stats.mean[c]);
            shape.planes(x, c).zip(shape.planes(grad_y, c)).fold(
                (0.0, 0.0),
                |(bias, dot), (x, g)| {
                    (bias + sum(g, |g| g), dot + sum_pairs(x, g, |x, g| (x - mean) * g))
                },
            )
        })
        .collect();
    let mut grad_x = vec![0.0; x.len()];
    if shape.image() > 0 {
        let images = grad_x.par_chunks_mut(shape.image()).zip(x.par_chunks(shape.image()));
        images.zip(grad_y.par_chunks(shape.image())).for_each(|((grad_x, x), grad_y)| {
            let planes = grad_x
                .chunks_mut(shape.pixels)
                .zip(x.chunks(shape.pixels))
                .zip(grad_y.chunks(shape.pixels));
            for (c, ((grad_x, x), grad_y)) in planes.enumerate() {
                let inverse = f64::from(inverse_std[c]);
                let scale = weight[c] * inverse_std[c];
                let mean_grad = (sums[c].0 / count) as f32;
                let slope = (sums[c].1 * inverse * inverse / count) as f32;
                let mean = stats.mean[c];
                for ((out, &x), &g) in grad_x.iter_mut().zip(x).zip(grad_y) {
                    *out = scale * (g - mean_grad - (x - mean) * slope);
                }
            }
        });
    }
    NormGrads {
        x: grad_x,
        weight: sums
            .iter()
            .zip(&inverse_std)
            .map(|(s, &inverse)| (s.1 * f64::from(inverse)) as f32)
            .collect(),
        bias: sums.iter().map(|s| s.0 as f32).collect(),
    }
}

/// Sum in f64 over eight lanes, which the compiler can vectorise.
fn sum(x: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = x.chunks_exact(8);
    let tail: f64 = chunks.remainder().iter().map(|&v| term(f64::from(v))).sum();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += term(f64::from(v));
        }
    }
    lanes.iter().sum::<f64>() + tail
}

fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(f64::from(a), f64::from(b));
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: NormShape = NormShape { batch: 5, channels: 3, pixels: 11 };
    const EPS: f64 = 1e-5;

    fn wave(n: usize, frequency: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * frequency).sin() + 0.3).collect()
    }

    fn normalise(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let stats = stats(&SHAPE, x);
        let scale: Vec<f32> =
            stats.inverse_std(EPS).iter().zip(weight).map(|(s, w)| s * w).collect();
        let shift: Vec<f32> =
            stats.mean.iter().zip(&scale).zip(bias).map(|((m, s), b)| b - m * s).collect();
        let mut y = vec![0.0; x.len()];
        affine(&SHAPE, x, &scale, &shift, &mut y);
        y
    }

    #[test]
    fn normalised_channels_have_the_mean_and_deviation_of_the_parameters() {
        let y = normalise(&wave(165, 0.7), &[2.0, 1.0, 0.5], &[0.0, -1.0, 3.0]);
        let after = stats(&SHAPE, &y);
        for (c, (mean, deviation)) in [(0.0, 2.0), (-1.0, 1.0), (3.0, 0.5)].into_iter().enumerate()
        {
            assert!(
                (after.mean[c] - mean).abs() < 1e-5
                    && (after.var[c].sqrt() - deviation).abs() < 1e-4
            );
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (x, weight, bias) = (wave(165, 0.7), vec![2.0, 1.0, 0.5], vec![0.1, -1.0, 3.0]);
        let grad_y = wave(165, 1.3);
        let loss = |x: &[f32], weight: &[f32], bias: &[f32]| -> f64 {
            normalise(x, weight, bias).iter().zip(&grad_y).map(|(y, g)| f64::from(y * g)).sum()
        };
        let grads = backward(&SHAPE, &x, &stats(&SHAPE, &x), EPS, &weight, &grad_y);
        let check = |name: &str, values: &[f32], grads: &[f32], loss: &dyn Fn(&[f32]) -> f64| {
            for i in (0..values.len()).step_by(7) {
                let at = |delta: f32| {
                    let mut moved = values.to_vec();
                    moved[i] += delta;
                    loss(&moved)
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!(
                    (slope - f64::from(grads[i])).abs() < 2e-3 * (1.0 + slope.abs()),
                    "{name}[{i}]: {slope} {}",
                    grads[i]
                );
            }
        };
        check("x", &x, &grads.x, &|x| loss(x, &weight, &bias));
        check("weight", &weight, &grads.weight, &|w| loss(&x, w, &bias));
        check("bias", &bias, &grads.bias, &|b| loss(&x, &weight, b));
    }

    #[test]
    fn a_constant_channel_has_no_variance_and_passes_amplified_gradient() {
        let shape = NormShape { batch: 2, channels: 1, pixels: 2 };
        let x = [3.0; 4];
        let found = stats(&shape, &x);
        assert_eq!((found.mean[0], found.var[0]), (3.0, 0.0));
        let grads = backward(&shape, &x, &found, EPS, &[1.0], &[1.0, 0.0, 0.0, 0.0]);
        assert!((grads.x[0] - 0.75 * 316.227_77).abs() < 1e-2, "{}", grads.x[0]);
    }
}
