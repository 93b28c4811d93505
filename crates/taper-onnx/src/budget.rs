//! How much memory a file justifies.

use crate::sizes::n_elements;

/// Elements for each byte that the file stores of a tensor: a weight of which one in 2048 is not zero.
const PER_BYTE: usize = 256;

/// Integers that a constant may have.
const MAX_SIZES: usize = 1024;

/// Elements that may be computed without being stored: zeros of sparse tensors, constants from shapes, transposed weights.
/// A few bytes can ask for any number of them.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    /// 64 MiB of f32, before anything is stored.
    pub(crate) fn new() -> Self {
        Self { left: 1 << 24 }
    }

    /// Adds what so many bytes of a tensor justify.
    pub(crate) fn store(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes.saturating_mul(PER_BYTE));
    }

    /// Takes the elements of a tensor of this shape, and gives their number.
    pub(crate) fn take(&mut self, dims: &[usize]) -> Result<usize, String> {
        let n = n_elements(dims).filter(|&n| n <= self.left);
        let n = n.ok_or_else(|| {
            format!("a constant of shape {dims:?} is larger than the weights of the file justify")
        })?;
        self.left -= n;
        Ok(n)
    }

    /// Checks that a constant of integers of this shape is small, as shapes and what is computed from them are.
    pub(crate) fn check_sizes(dims: &[usize]) -> Result<(), String> {
        match n_elements(dims) {
            Some(n) if n <= MAX_SIZES => Ok(()),
            _ => Err(format!(
                "a constant of integers has shape {dims:?}; weights must be floats, and shapes have at most {MAX_SIZES} numbers"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_is_bounded_by_what_is_stored() {
        let mut budget = Budget::new();
        assert_eq!(budget.take(&[1 << 12, 1 << 12]), Ok(1 << 24));
        assert_eq!(budget.take(&[0, 3]), Ok(0));
        assert!(budget.take(&[1]).unwrap_err().contains("[1] is larger"));
        budget.store(2);
        assert_eq!(budget.take(&[2, 256]), Ok(512));
        assert!(budget.take(&[usize::MAX, 2]).is_err());
        assert_eq!(Budget::check_sizes(&[2, 512]), Ok(()));
        assert!(Budget::check_sizes(&[1025]).unwrap_err().contains("[1025]"));
        assert!(Budget::check_sizes(&[usize::MAX, 2]).is_err());
    }
}
