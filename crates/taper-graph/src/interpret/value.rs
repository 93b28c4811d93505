//! A value with its shape, and the channels and pixels of a shape.

use crate::Tensor;

/// An input of a node: a shape, and values in row-major order.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a, T = f32> {
    pub(crate) dims: &'a [usize],
    pub(crate) values: &'a [T],
}

impl<'a> From<&'a Tensor> for Value<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { dims: tensor.dims(), values: tensor.values() }
    }
}

impl Value<'_> {
    /// Applies a function to the pixels of each channel.
    pub(super) fn each_plane(&self, f: impl Fn(&[f32]) -> Vec<f64>) -> Vec<f64> {
        let pixels = pixels(self.dims);
        (0..channels(self.dims)).flat_map(|c| f(&self.values[c * pixels..][..pixels])).collect()
    }

    /// Applies a function to each element.
    pub(super) fn each(&self, f: impl Fn(f64) -> f64) -> Vec<f64> {
        self.values.iter().map(|&x| f(f64::from(x))).collect()
    }
}

/// Number of channels: the first size, or 1 for a scalar.
pub(crate) fn channels(dims: &[usize]) -> usize {
    dims.first().copied().unwrap_or(1)
}

/// Elements of a channel.
pub(crate) fn pixels(dims: &[usize]) -> usize {
    dims.iter().skip(1).product()
}

/// Rows and columns of a channel. A channel that is not a plane has one row.
pub(crate) fn sizes(dims: &[usize]) -> [usize; 2] {
    match dims {
        &[_, rows, columns] => [rows, columns],
        _ => [1, pixels(dims)],
    }
}
