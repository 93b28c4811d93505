//! Bounds the memory for constants by the size of the file.

use crate::sizes::n_elements;

/// Elements for each stored byte of a tensor. This allows sparse weights with one non-zero value in 2048.
const PER_BYTE: usize = 256;

/// Most integers of a constant.
const MAX_SIZES: usize = 1024;

/// Elements that may be allocated beyond the stored ones: zeros of sparse tensors, constants from shapes, transposed
/// weights. A few bytes of a file can request any number of them.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    /// 64 MiB of f32, before anything is stored.
    pub(crate) fn new() -> Self {
        Self { left: 1 << 24 }
    }

    /// Adds the elements that the stored bytes of a tensor allow.
    pub(crate) fn store(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes.saturating_mul(PER_BYTE));
    }

    /// Subtracts the elements of a tensor of this shape. Returns their number.
    pub(crate) fn take(&mut self, dims: &[usize]) -> Result<usize, String> {
        let n = n_elements(dims).filter(|&n| n <= self.left);
        let n = n.ok_or_else(|| {
            format!(
                "a constant of shape {dims:?} is larger than the {} elements that the stored weights allow",
                self.left
            )
        })?;
        self.left -= n;
        Ok(n)
    }

    /// Checks that a constant of integers is small. Shapes, and values computed from them, are small.
    pub(crate) fn check_sizes(dims: &[usize]) -> Result<(), String> {
        match n_elements(dims) {
            Some(n) if n <= MAX_SIZES => Ok(()),
            _ => Err(format!(
                "an integer constant has shape {dims:?}; weights must be floats, and shapes have at most {MAX_SIZES} numbers"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computed_elements_are_bounded_by_stored_bytes() {
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
