//! The interface of all readers: tensor names, and values on request.

use crate::numbers::Numbers;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A file or folder of tensors, which are unpacked on request. Its errors name the tensor.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Metadata of the file.
    fn metadata(&self) -> Option<&BTreeMap<String, String>>;

    /// Names of the tensors, packed or not.
    fn names(&self) -> BTreeSet<String>;

    /// Shape of a tensor, if it is known before unpacking; an error if the tensor cannot be read.
    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, String>;

    /// The values of a tensor of this shape, zeros included. Allocations are bounded by the size of the file or the
    /// shape.
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, String>;
}

/// The message for a tensor with the wrong shape.
pub(crate) fn other_shape(name: &str, found: &[usize], needed: &[usize]) -> String {
    format!("tensor {name} has shape {found:?}, but the network needs {needed:?}")
}

/// The message for a missing tensor.
pub(crate) fn missing(name: &str) -> String {
    format!("tensor {name} is missing")
}

/// Number of elements of a tensor of this shape, unless it overflows.
pub(crate) fn n_elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
}
