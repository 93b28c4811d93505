//! A PyTorch tensor as a strided view of a storage.

use crate::{element::width, source::n_elements};
use safetensors::Dtype;

/// A view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View<S> {
    pub(super) dtype: Dtype,
    pub(super) storage: S,
    /// Index of the first element in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Stride of each axis, in elements; 0 where a tensor is expanded.
    pub(super) stride: Vec<usize>,
}

impl<S> View<S> {
    /// Copies the elements in row-major order from the bytes of the storage.
    ///
    /// # Errors
    /// If the view reaches beyond the storage. Nothing is allocated before this check. The result has the size of the
    /// tensor, which can be larger than the storage.
    pub(super) fn gather(&self, storage: &[u8]) -> Result<Vec<u8>, String> {
        let width = width(self.dtype)
            .ok_or_else(|| format!("its numbers are {}; save them as F32", self.dtype))?;
        let n = n_elements(&self.shape).filter(|n| n.checked_mul(width).is_some());
        let n = n.ok_or_else(|| format!("its shape {:?} is larger than any memory", self.shape))?;
        if n == 0 {
            return Ok(Vec::new());
        }
        let reach =
            self.shape.iter().zip(&self.stride).try_fold(self.offset, |reach, (&size, &stride)| {
                reach.checked_add(stride.checked_mul(size - 1)?)
            });
        let has = storage.len() / width;
        if reach.is_none_or(|last| last >= has) {
            return Err(format!(
                "its storage has {has} elements, but the tensor reaches beyond them"
            ));
        }
        // The innermost contiguous axes are copied as one run.
        let mut run = 1;
        let mut outer = self.shape.len();
        while outer > 0 && (self.stride[outer - 1] == run || self.shape[outer - 1] == 1) {
            outer -= 1;
            run *= self.shape[outer];
        }
        let mut data = Vec::with_capacity(n * width);
        let mut place = vec![0; outer];
        for _ in 0..n / run {
            let at =
                place.iter().zip(&self.stride).fold(self.offset, |at, (i, stride)| at + i * stride);
            data.extend_from_slice(&storage[at * width..][..run * width]);
            for axis in (0..outer).rev() {
                place[axis] += 1;
                if place[axis] < self.shape[axis] {
                    break;
                }
                place[axis] = 0;
            }
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(offset: usize, shape: &[usize], stride: &[usize]) -> Result<Vec<u8>, String> {
        let (shape, stride) = (shape.to_vec(), stride.to_vec());
        let view = View { dtype: Dtype::U16, storage: (), offset, shape, stride };
        let storage: Vec<u8> = (0..24u16).flat_map(u16::to_le_bytes).collect();
        let bytes = view.gather(&storage)?;
        Ok(bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b) as u8).collect())
    }

    #[test]
    fn elements_come_row_by_row_whatever_the_strides() {
        let all: Vec<u8> = (0..24).collect();
        assert_eq!(gather(0, &[2, 3, 4], &[12, 4, 1]).unwrap(), all);
        assert_eq!(gather(0, &[24], &[1]).unwrap(), all);
        assert_eq!(gather(5, &[], &[]).unwrap(), [5]);
        assert_eq!(gather(2, &[2, 2], &[2, 1]).unwrap(), [2, 3, 4, 5]);
        // Transposed, channels last, every second row, expanded.
        assert_eq!(gather(0, &[3, 2], &[1, 3]).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(0, &[1, 2, 2, 2], &[8, 1, 4, 2]).unwrap(), [0, 2, 4, 6, 1, 3, 5, 7]);
        assert_eq!(gather(1, &[2, 2], &[8, 1]).unwrap(), [1, 2, 9, 10]);
        assert_eq!(gather(3, &[2, 3], &[0, 1]).unwrap(), [3, 4, 5, 3, 4, 5]);
        assert_eq!(gather(3, &[2, 2], &[1, 0]).unwrap(), [3, 3, 4, 4]);
        // The stride of an axis of size 1 has no effect.
        assert_eq!(gather(0, &[2, 1, 2], &[2, 7, 1]).unwrap(), [0, 1, 2, 3]);
        assert!(gather(99, &[0, 3], &[3, 1]).unwrap().is_empty());
    }

    #[test]
    fn nothing_beyond_the_storage_is_read() {
        for (offset, shape, stride) in [
            (24, &[][..], &[][..]),
            (1, &[24], &[1]),
            (0, &[2, 2], &[23, 1]),
            (usize::MAX, &[2], &[1]),
            (0, &[2, 2], &[usize::MAX, 1]),
        ] {
            assert!(gather(offset, shape, stride).unwrap_err().contains("has 24 elements"));
        }
        assert!(gather(0, &[usize::MAX, 1], &[0, 0]).unwrap_err().contains("any memory"));
    }
}
