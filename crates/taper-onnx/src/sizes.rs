//! Sizes of tensors.

/// Number of elements of a tensor of this shape, unless it overflows.
pub(crate) fn n_elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
}
