//! The blocked layout: sixteen images in the lanes of a vector.
//!
//! An activation is stored as `[block, row, channel, column, lane]`, where image `16·block + lane` of the batch is in
//! that lane. One weight then works on whole vectors, whatever the size of kernel and plane, and a band of rows is
//! one contiguous stretch of memory. Where the batch is no multiple of sixteen, the lanes past its end are zero.

pub use crate::simd::lanes::{LANES, Lanes};

use crate::sizes::product;
use rayon::prelude::*;

/// Sizes of an activation.
///
/// Its methods panic if a product of the sizes is more than memory holds; kernels ask for [`len`](Self::len) before they
/// read anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plane {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Plane {
    /// Blocks of sixteen images; the last may be partly filled.
    pub fn blocks(&self) -> usize {
        self.batch.div_ceil(LANES)
    }

    /// Pixels of a row of all channels.
    pub fn row(&self) -> usize {
        product([self.channels, self.width])
    }

    /// Pixels of a block.
    pub fn block(&self) -> usize {
        product([self.height, self.row()])
    }

    /// Pixels in all: the length of a slice that holds the activation.
    pub fn len(&self) -> usize {
        product([self.blocks(), self.block()])
    }

    /// Whether there is not a single pixel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Floats of one image.
    pub fn image(&self) -> usize {
        product([self.channels, self.height, self.width])
    }

    /// Values of each channel, over the batch.
    pub fn count(&self) -> usize {
        product([self.batch, self.height, self.width])
    }

    /// How many lanes of a block hold images.
    pub fn filled(&self, block: usize) -> usize {
        (self.batch - block * LANES).min(LANES)
    }
}

/// Zeroes the lanes from `filled` on.
pub(crate) fn clear_tail(lanes: &mut [Lanes], filled: usize) {
    if filled < LANES {
        for Lanes(lanes) in lanes {
            lanes[filled..].fill(0.0);
        }
    }
}

/// From `[batch, channels, height, width]` to the blocked layout.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn from_nchw(plane: &Plane, images: &[f32], out: &mut [Lanes]) {
    assert_eq!(images.len(), product([plane.batch, plane.image()]), "images of {plane:?}");
    assert_eq!(out.len(), plane.len(), "blocks of {plane:?}");
    if out.is_empty() {
        return;
    }
    let (width, image) = (plane.width, plane.image());
    let blocks = out.par_chunks_mut(plane.block()).zip(images.par_chunks(LANES * image));
    blocks.for_each(|(out, images)| {
        if images.len() < LANES * image {
            out.fill(Lanes::ZERO);
        }
        for (y, out) in out.chunks_mut(plane.row()).enumerate() {
            for (c, out) in out.chunks_mut(width).enumerate() {
                let start = (c * plane.height + y) * width;
                for (lane, image) in images.chunks(image).enumerate() {
                    for (out, value) in out.iter_mut().zip(&image[start..start + width]) {
                        out.0[lane] = *value;
                    }
                }
            }
        }
    });
}

/// From the blocked layout to `[batch, channels, height, width]`.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn to_nchw(plane: &Plane, blocks: &[Lanes], images: &mut [f32]) {
    assert_eq!(images.len(), product([plane.batch, plane.image()]), "images of {plane:?}");
    assert_eq!(blocks.len(), plane.len(), "blocks of {plane:?}");
    if blocks.is_empty() {
        return;
    }
    let (width, image) = (plane.width, plane.image());
    let pairs = blocks.par_chunks(plane.block()).zip(images.par_chunks_mut(LANES * image));
    pairs.for_each(|(block, images)| {
        for (y, row) in block.chunks(plane.row()).enumerate() {
            for (c, row) in row.chunks(width).enumerate() {
                let start = (c * plane.height + y) * width;
                for (lane, image) in images.chunks_mut(image).enumerate() {
                    for (value, pixel) in image[start..start + width].iter_mut().zip(row) {
                        *value = pixel.0[lane];
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back_and_lanes_past_its_end_are_zero() {
        for batch in [0, 1, 15, 16, 17, 40] {
            let plane = Plane { batch, channels: 3, height: 4, width: 5 };
            let images: Vec<f32> = (0..batch * 60).map(|i| i as f32 + 1.0).collect();
            let mut blocks = vec![Lanes([9.0; LANES]); plane.len()];
            from_nchw(&plane, &images, &mut blocks);
            let mut back = vec![0.0; images.len()];
            to_nchw(&plane, &blocks, &mut back);
            assert_eq!(back, images);
            let sum: f32 = blocks.iter().flat_map(|l| l.0).sum();
            assert_eq!(sum, images.iter().sum::<f32>());
        }
    }

    #[test]
    fn a_pixel_is_where_the_module_says() {
        let plane = Plane { batch: 18, channels: 2, height: 3, width: 4 };
        let images: Vec<f32> = (0..18 * 24).map(|i| i as f32).collect();
        let mut blocks = vec![Lanes::ZERO; plane.len()];
        from_nchw(&plane, &images, &mut blocks);
        let (n, c, y, x) = (17, 1, 2, 3);
        let at = ((n / 16 * 3 + y) * 2 + c) * 4 + x;
        assert_eq!(blocks[at].0[n % 16], images[((n * 2 + c) * 3 + y) * 4 + x]);
    }

    #[test]
    fn sizes_that_wrap_around_are_refused() {
        // Twice this is 2 modulo 2⁶⁴.
        let wraps = (1usize << (usize::BITS - 1)) + 1;
        let plane = Plane { batch: 1, channels: 1, height: 1, width: 2 };
        let is_refused = |plane: Plane| std::panic::catch_unwind(move || plane.len()).is_err();
        assert!(is_refused(Plane { channels: wraps, ..plane }));
        assert!(is_refused(Plane { height: wraps, ..plane }));
        assert!(is_refused(Plane { width: wraps, channels: 2, ..plane }));
        // So many blocks could be, but not their images.
        let many = Plane { batch: wraps, ..plane };
        let mut out = vec![Lanes::ZERO; 2];
        let copied = std::panic::catch_unwind(move || from_nchw(&many, &[1.0; 2], &mut out));
        assert!(copied.is_err());
    }
}
