//! Constants of a graph.

use crate::GraphError;
use std::{fmt, sync::Arc};

/// A constant: a shape, and f32 values in row-major order. Clones share the values.
#[derive(Clone)]
pub struct Tensor {
    dims: Vec<usize>,
    values: Arc<[f32]>,
}

/// Clones are equal without comparing values, even with NaN.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        let is_copy = || Arc::ptr_eq(&self.values, &other.values);
        self.dims == other.dims && (is_copy() || self.values == other.values)
    }
}

impl Tensor {
    /// A tensor of this shape.
    ///
    /// # Errors
    /// If the number of values is not the product of the sizes.
    pub fn new(dims: &[usize], values: impl Into<Arc<[f32]>>) -> Result<Self, GraphError> {
        let values = values.into();
        if n_elements(dims) != Some(values.len()) {
            let n = values.len();
            return Err(GraphError::new(format!(
                "a tensor of shape {dims:?} cannot have {n} values"
            )));
        }
        Ok(Self { dims: dims.to_vec(), values })
    }

    /// Sizes.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Values in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether this is the weight of a linear layer or 1×1 convolution that only selects channels, as Split and Slice of
    /// an ONNX file are computed: each output has one weight of 1, and all others are 0.
    pub fn selects_channels(&self) -> bool {
        let (&[_, width] | &[_, width, 1, 1]) = self.dims() else { return false };
        let selects = |row: &[f32]| row.iter().filter(|weight| **weight != 0.0).eq([&1.0]);
        width > 1 && !self.values().is_empty() && self.values().chunks_exact(width).all(selects)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor {:?}", self.dims)
    }
}

/// Number of elements of a tensor of this shape; `None` if it overflows.
pub fn n_elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
}
