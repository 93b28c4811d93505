//! Images in memory: [`ImageShape`] and [`Split`].

use crate::{DataError, Result};
use sha2::{Digest, Sha256};

/// Channels, height and width of the images of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// 1 for greyscale, 3 for RGB.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl ImageShape {
    /// Images of CIFAR: 3 channels of 32 × 32 pixels.
    pub const CIFAR: Self = Self { channels: 3, height: 32, width: 32 };
    /// Images of the digits: 1 channel of 8 × 8 pixels.
    pub const DIGITS: Self = Self { channels: 1, height: 8, width: 8 };

    /// Number of values in an image: `channels * height * width`.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether an image has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Images and their labels: the training part or the test part of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    shape: ImageShape,
    images: Vec<u8>,
    labels: Vec<u32>,
    coarse: Option<Vec<u32>>,
}

impl Split {
    /// A split of pixels (`[n, channels, height, width]`, row-major), labels (`[n]`) and optional coarse labels
    /// (`[n]`).
    ///
    /// # Errors
    /// [`DataError::Invalid`] if the counts do not agree or the shape is empty.
    pub fn new(
        shape: ImageShape,
        images: Vec<u8>,
        labels: Vec<u32>,
        coarse: Option<Vec<u32>>,
    ) -> Result<Self> {
        if shape.is_empty() {
            return Err(DataError::Invalid(format!(
                "an image must have at least one value, but its shape is {shape:?}"
            )));
        }
        let n = labels.len();
        if n.checked_mul(shape.len()) != Some(images.len()) {
            return Err(DataError::Invalid(format!(
                "{n} labels need {n} x {} pixel values, but there are {}",
                shape.len(),
                images.len()
            )));
        }
        if let Some(c) = coarse.as_ref().filter(|c| c.len() != n) {
            return Err(DataError::Invalid(format!(
                "there are {n} labels but {} coarse labels; the numbers must be equal",
                c.len()
            )));
        }
        if u32::try_from(n).is_err() {
            return Err(DataError::Invalid(format!(
                "there are {n} images, but a split can have at most {}",
                u32::MAX
            )));
        }
        Ok(Self { shape, images, labels, coarse })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// All pixels, `[n, channels, height, width]`, row-major.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// The pixels of one image, `[channels, height, width]`, or `None` past the end.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        let len = self.shape.len();
        self.images.get(index.checked_mul(len)?..)?.get(..len)
    }

    /// The labels, `[n]`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The coarse labels, `[n]`: the 20 superclasses of CIFAR-100.
    pub fn coarse(&self) -> Option<&[u32]> {
        self.coarse.as_deref()
    }

    /// Keeps the first `n` images.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.images.truncate(n.saturating_mul(self.shape.len()));
        self.labels.truncate(n);
        if let Some(coarse) = &mut self.coarse {
            coarse.truncate(n);
        }
    }

    /// The images for which `is_wanted` is true, in order.
    pub(crate) fn filtered(&self, is_wanted: impl Fn(usize) -> bool) -> Self {
        let indices: Vec<usize> = (0..self.len()).filter(|&index| is_wanted(index)).collect();
        let pick = |labels: &[u32]| indices.iter().map(|&index| labels[index]).collect();
        let len = self.shape.len();
        Self {
            shape: self.shape,
            images: indices.iter().flat_map(|i| &self.images[i * len..][..len]).copied().collect(),
            labels: pick(&self.labels),
            coarse: self.coarse.as_deref().map(pick),
        }
    }

    /// Appends another split of the same shape. Either both splits have coarse labels, or neither; the caller checks
    /// this.
    pub(crate) fn append(&mut self, other: Self) {
        debug_assert_eq!(self.shape, other.shape);
        self.images.extend_from_slice(&other.images);
        self.labels.extend_from_slice(&other.labels);
        if let (Some(mine), Some(more)) = (&mut self.coarse, other.coarse) {
            mine.extend(more);
        }
    }

    /// Adds count, shape, pixels and labels to a hash. Numbers are little-endian `u64` or `u32`.
    pub(crate) fn feed(&self, hash: &mut Sha256) {
        for n in [self.len(), self.shape.channels, self.shape.height, self.shape.width] {
            hash.update((n as u64).to_le_bytes());
        }
        hash.update(&self.images);
        for label in &self.labels {
            hash.update(label.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

    #[test]
    fn counts_must_agree() {
        assert!(Split::new(TINY, vec![0; 4], vec![0, 1], Some(vec![0, 0])).is_ok());
        assert!(Split::new(TINY, vec![0; 5], vec![0, 1], None).is_err());
        assert!(Split::new(TINY, vec![0; 4], vec![0, 1], Some(vec![0])).is_err());
        assert!(Split::new(ImageShape { width: 0, ..TINY }, vec![], vec![], None).is_err());
    }

    #[test]
    fn images_are_found_by_index() {
        let split = Split::new(TINY, vec![1, 2, 3, 4], vec![0, 1], None).unwrap();
        assert_eq!(split.image(1), Some(&[3, 4][..]));
        assert_eq!(split.image(2), None);
        assert_eq!(split.image(usize::MAX), None);
    }

    #[test]
    fn append_and_truncate_apply_to_images_and_all_labels() {
        let mut a = Split::new(TINY, vec![1, 2], vec![7], Some(vec![3])).unwrap();
        a.append(Split::new(TINY, vec![3, 4, 5, 6], vec![8, 9], Some(vec![4, 5])).unwrap());
        assert_eq!((a.labels(), a.coarse(), a.len()), (&[7, 8, 9][..], Some(&[3, 4, 5][..]), 3));
        a.truncate(2);
        assert_eq!(
            (a.images(), a.labels(), a.coarse()),
            (&[1, 2, 3, 4][..], &[7, 8][..], Some(&[3, 4][..]))
        );
    }
}
