//! Activations, batch norm, broadcast sums and products, softmax.

use super::Value;
use crate::ActivationFn;

/// Applies an activation to one element.
pub(crate) fn activate(activation: ActivationFn, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    match activation {
        ActivationFn::Relu => at_least(x, 0.0),
        ActivationFn::Clip { min, max } => at_most(at_least(x, min.into()), max.into()),
        ActivationFn::LeakyRelu { slope } => {
            if x < 0.0 {
                f64::from(slope) * x
            } else {
                x
            }
        }
        ActivationFn::Sigmoid => sigmoid(x),
        ActivationFn::HardSigmoid { alpha, beta } => {
            at_most(at_least(f64::from(alpha) * x + f64::from(beta), 0.0), 1.0)
        }
        ActivationFn::Silu => x * sigmoid(x),
        ActivationFn::HardSwish => x * at_most(at_least(x + 3.0, 0.0), 6.0) / 6.0,
    }
}

// Unlike `f64::max` and `f64::min`, these keep NaN.
fn at_least(x: f64, min: f64) -> f64 {
    if x < min { min } else { x }
}

fn at_most(x: f64, max: f64) -> f64 {
    if x > max { max } else { x }
}

/// Applies a function to the elements of two values of equal rank; sizes of 1 are broadcast.
pub(crate) fn broadcast<T: Copy + Into<f64>>(
    a: Value<T>,
    b: Value<T>,
    dims: &[usize],
    f: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let element = |of: Value<T>, i| of.values[source(i, of.dims, dims)].into();
    (0..dims.iter().product()).map(|i| f(element(a, i), element(b, i))).collect()
}

/// The element of a value of shape `from` that is broadcast to element `i` of shape `dims`.
pub(crate) fn source(mut i: usize, from: &[usize], dims: &[usize]) -> usize {
    let (mut at, mut step) = (0, 1);
    for (&size, &own) in dims.iter().zip(from).rev() {
        if own != 1 {
            at += i % size * step;
        }
        i /= size;
        step *= own;
    }
    at
}

/// Softmax over a dimension.
pub(crate) fn softmax(input: Value, axis: usize) -> Vec<f64> {
    let size = input.dims[axis];
    let step: usize = input.dims[axis + 1..].iter().product();
    let mut values = input.each(|x| x);
    // The first element of each line along the axis.
    for first in (0..values.len()).filter(|i| (i / step).is_multiple_of(size)) {
        let line = || (0..size).map(|k| first + k * step);
        let most = super::pool::maximum(&line().map(|i| values[i]).collect::<Vec<f64>>());
        line().for_each(|i| values[i] = libm::exp(values[i] - most));
        let sum: f64 = line().map(|i| values[i]).sum();
        line().for_each(|i| values[i] /= sum);
    }
    values
}
