//! What the reader of a format gives: names, and numbers when they are asked for.

use crate::numbers::Numbers;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A file or folder of tensors that have not been unpacked yet. Its errors name the tensor.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Short texts that the file carries.
    fn metadata(&self) -> Option<&BTreeMap<String, String>>;

    /// Names of the tensors, packed or not.
    fn names(&self) -> BTreeSet<String>;

    /// Sizes of a tensor, if they are known before it is unpacked; an error if it cannot be read at all.
    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, String>;

    /// The numbers of a tensor of this shape, with its zeros. What is allocated, file or shape justifies.
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, String>;
}

/// A tensor that has another shape than it should.
pub(crate) fn other_shape(name: &str, found: &[usize], needed: &[usize]) -> String {
    format!("tensor {name} has shape {found:?} where the network has {needed:?}")
}

/// A tensor that is not there.
pub(crate) fn missing(name: &str) -> String {
    format!("tensor {name} is missing")
}

/// Number of elements of a tensor of this shape, unless it is beyond measure.
pub(crate) fn n_elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
}
