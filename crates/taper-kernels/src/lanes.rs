//! Memory layout of the activations of a batch, in vectors of sixteen floats.
//!
//! The layout is `[image, channel, row, column]` as in NCHW, with columns in the SIMD lanes. The *pitch* is the number
//! of floats of a row: its columns rounded up to 1, 2, 4, 8 or a multiple of sixteen. A channel is a whole number of
//! vectors.
//!
//! Channels of at most sixteen pixels would fill one vector at most. Their layout is `[block, channel, pixel, image]`,
//! with sixteen images per block: the lanes are images.
//!
//! Lanes without a pixel are zero: those after the last column or row, or past the end of the batch.

pub use crate::simd::lanes::{LANES, Lanes};

use crate::{simd::Simd, sizes::product};
use rayon::prelude::*;

/// Sizes of an activation.
///
/// Its methods panic if a product of the sizes is more than memory holds. Kernels call [`len`](Self::len) before they
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

/// The number of columns rounded up to the floats of a row.
pub(crate) fn pitch(columns: usize) -> usize {
    if columns < LANES { columns.next_power_of_two() } else { columns.next_multiple_of(LANES) }
}

impl Plane {
    /// Blocks of sixteen images; the last may be partly filled. Sums over a batch are sums over blocks.
    pub fn blocks(&self) -> usize {
        self.batch.div_ceil(LANES)
    }

    /// Whether lanes are images rather than pixels.
    pub(crate) fn has_images_in_lanes(&self) -> bool {
        product([self.height, self.width]) <= LANES
    }

    /// Floats from one row to the next, where lanes are pixels.
    pub(crate) fn pitch(&self) -> usize {
        pitch(self.width)
    }

    /// Images that share vectors.
    pub(crate) fn together(&self) -> usize {
        if self.has_images_in_lanes() { LANES } else { 1 }
    }

    /// Vectors per channel, of an image or of sixteen images that share vectors.
    pub(crate) fn vectors(&self) -> usize {
        match self.has_images_in_lanes() {
            true => self.height * self.width,
            false => product([self.height, self.pitch()]).div_ceil(LANES),
        }
    }

    /// Vectors of all channels, of an image or of sixteen images that share vectors.
    pub(crate) fn unit(&self) -> usize {
        product([self.channels, self.vectors()])
    }

    /// Number of units. A unit is an image, or a block of sixteen images that share vectors.
    pub(crate) fn units(&self) -> usize {
        self.batch.div_ceil(self.together())
    }

    /// Vectors of sixteen images.
    pub(crate) fn block(&self) -> usize {
        product([LANES / self.together(), self.unit()])
    }

    /// Number of vectors: the length of a slice that holds the activation.
    pub fn len(&self) -> usize {
        product([self.units(), self.unit()])
    }

    /// Whether there are no pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Floats of one image.
    pub fn image(&self) -> usize {
        product([self.channels, self.height, self.width])
    }

    /// Values per channel, over the batch.
    pub fn count(&self) -> usize {
        product([self.batch, self.height, self.width])
    }

    /// Images in a unit.
    pub(crate) fn filled(&self, unit: usize) -> usize {
        (self.batch - unit * self.together()).min(self.together())
    }

    /// A bit mask of the lanes that hold pixels, for a channel of a unit: all bits of these lanes are 1. `None` if all
    /// lanes hold pixels.
    pub(crate) fn pixels(&self, unit: usize) -> Option<Vec<Lanes>> {
        let lane = |is_pixel: bool| f32::from_bits(if is_pixel { u32::MAX } else { 0 });
        if self.has_images_in_lanes() {
            let filled = self.filled(unit);
            let mask = Lanes(std::array::from_fn(|image| lane(image < filled)));
            return (filled < LANES).then(|| vec![mask; self.vectors()]);
        }
        let (pitch, n) = (self.pitch(), self.vectors());
        if pitch == self.width && self.height * pitch == n * LANES {
            return None;
        }
        let is_pixel = |at: usize| at % pitch < self.width && at / pitch < self.height;
        let vector = |v: usize| Lanes(std::array::from_fn(|l| lane(is_pixel(v * LANES + l))));
        Some((0..n).map(vector).collect())
    }

    /// A channel of a unit.
    pub(crate) fn channel_of(&self, unit: usize, channel: usize) -> ChannelOf {
        ChannelOf { unit, channel, at: (unit * self.channels + channel) * self.vectors() }
    }

    /// Where the pixels of a channel of an image lie.
    pub(crate) fn channel(&self, image: usize, channel: usize) -> ChannelPlaces {
        let unit = image / self.together();
        let first = (unit * self.channels + channel) * self.vectors() * LANES;
        match self.has_images_in_lanes() {
            true => ChannelPlaces {
                first: first + image % LANES,
                row: self.width * LANES,
                column: LANES,
            },
            false => ChannelPlaces { first, row: self.pitch(), column: 1 },
        }
    }
}

/// A channel of an image, or of the sixteen images that share its vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelOf {
    /// Index of the unit.
    pub(crate) unit: usize,
    /// Index of the channel.
    pub(crate) channel: usize,
    /// Its first vector, where the activation is stored in one piece.
    pub(crate) at: usize,
}

/// Where the pixels of a channel of an image lie, in floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelPlaces {
    pub(crate) first: usize,
    /// From one row to the next.
    pub(crate) row: usize,
    /// From one column to the next.
    pub(crate) column: usize,
}

impl ChannelPlaces {
    /// The place of a pixel.
    pub(crate) fn at(&self, y: usize, x: usize) -> usize {
        self.first + y * self.row + x * self.column
    }
}

/// Vectors as floats.
pub(crate) fn floats(lanes: &[Lanes]) -> &[f32] {
    // SAFETY: `Lanes` is sixteen floats without padding, in C's order.
    unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len() * LANES) }
}

/// Vectors as floats.
pub(crate) fn floats_mut(lanes: &mut [Lanes]) -> &mut [f32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len() * LANES) }
}

/// Zeroes the lanes that hold no pixel; `pixels` is the mask of [`Plane::pixels`].
///
/// # Safety
/// The instructions of `S` must be available.
#[inline(always)]
pub(crate) unsafe fn keep_pixels<S: Simd>(pixels: &[Lanes], lanes: &mut [Lanes]) {
    let n = pixels.len().min(lanes.len()) * LANES;
    let (mask, to) = (pixels.as_ptr().cast::<f32>(), lanes.as_mut_ptr().cast::<f32>());
    for i in (0..n).step_by(S::WIDTH) {
        // SAFETY: both have `n` floats; the caller guarantees the instruction set.
        unsafe { S::store(to.add(i), S::and(S::load(to.add(i)), S::load(mask.add(i)))) };
    }
}

/// Converts from NCHW, `[batch, channels, height, width]`.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn from_nchw(plane: &Plane, images: &[f32], out: &mut [Lanes]) {
    assert_eq!(images.len(), product([plane.batch, plane.image()]), "images of {plane:?}");
    assert_eq!(out.len(), plane.len(), "activation of {plane:?}");
    if out.is_empty() {
        return;
    }
    let (pixels, image) = (plane.height * plane.width, plane.image());
    let units = out.par_chunks_mut(plane.unit()).zip(images.par_chunks(plane.together() * image));
    units.for_each(|(out, images)| {
        let channels = out.chunks_exact_mut(plane.vectors()).enumerate();
        if plane.has_images_in_lanes() {
            for (c, out) in channels {
                out.fill(Lanes::ZERO);
                for (lane, image) in images.chunks_exact(image).enumerate() {
                    let image = &image[c * pixels..][..pixels];
                    out.iter_mut().zip(image).for_each(|(out, &pixel)| out.0[lane] = pixel);
                }
            }
            return;
        }
        for (c, out) in channels {
            let (out, pixels) = (floats_mut(out), &images[c * pixels..][..pixels]);
            let n = plane.height * plane.pitch();
            let rows = out[..n].chunks_exact_mut(plane.pitch());
            for (out, row) in rows.zip(pixels.chunks_exact(plane.width)) {
                let (pixels, rest) = out.split_at_mut(plane.width);
                pixels.copy_from_slice(row);
                rest.fill(0.0);
            }
            out[n..].fill(0.0);
        }
    });
}

/// Converts to NCHW, `[batch, channels, height, width]`.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn to_nchw(plane: &Plane, x: &[Lanes], images: &mut [f32]) {
    assert_eq!(images.len(), product([plane.batch, plane.image()]), "images of {plane:?}");
    assert_eq!(x.len(), plane.len(), "activation of {plane:?}");
    if x.is_empty() {
        return;
    }
    let (pixels, image) = (plane.height * plane.width, plane.image());
    let units = x.par_chunks(plane.unit()).zip(images.par_chunks_mut(plane.together() * image));
    units.for_each(|(x, images)| {
        for (c, x) in x.chunks_exact(plane.vectors()).enumerate() {
            if plane.has_images_in_lanes() {
                for (lane, image) in images.chunks_exact_mut(image).enumerate() {
                    let image = &mut image[c * pixels..][..pixels];
                    image.iter_mut().zip(x).for_each(|(pixel, x)| *pixel = x.0[lane]);
                }
            } else {
                let rows = floats(x).chunks_exact(plane.pitch());
                let pixels = images[c * pixels..][..pixels].chunks_exact_mut(plane.width);
                pixels.zip(rows).for_each(|(to, row)| to.copy_from_slice(&row[..plane.width]));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> impl Iterator<Item = Plane> {
        let planes = [(4, 5), (1, 1), (2, 2), (3, 5), (4, 4), (8, 8), (7, 7), (1, 33), (2, 20)];
        planes.into_iter().flat_map(|(height, width)| {
            [0, 1, 15, 16, 17, 40].map(|batch| Plane { batch, channels: 3, height, width })
        })
    }

    #[test]
    fn a_batch_comes_back_and_lanes_without_a_pixel_are_zero() {
        for plane in sizes() {
            let n = plane.batch * plane.image();
            let images: Vec<f32> = (0..n).map(|i| i as f32 % 1000.0 + 1.0).collect();
            let mut out = vec![Lanes([9.0; LANES]); plane.len()];
            from_nchw(&plane, &images, &mut out);
            let mut back = vec![0.0; images.len()];
            to_nchw(&plane, &out, &mut back);
            assert_eq!(back, images);
            let n_set = floats(&out).iter().filter(|&&v| v != 0.0).count();
            assert_eq!(n_set, n, "{plane:?}");
        }
    }

    #[test]
    fn a_pixel_is_where_the_module_says() {
        for plane in sizes().filter(|plane| plane.batch > 0) {
            let n = plane.batch * plane.image();
            let images: Vec<f32> = (0..n).map(|i| i as f32 + 1.0).collect();
            let mut out = vec![Lanes::ZERO; plane.len()];
            from_nchw(&plane, &images, &mut out);
            let (n, c, y, x) = (plane.batch - 1, 1, plane.height - 1, plane.width - 1);
            let want = images[((n * 3 + c) * plane.height + y) * plane.width + x];
            assert_eq!(floats(&out)[plane.channel(n, c).at(y, x)], want, "{plane:?}");
        }
    }

    #[test]
    fn the_mask_has_the_pixels() {
        for plane in sizes() {
            for unit in 0..plane.units() {
                let n = plane.filled(unit) * plane.height * plane.width;
                let of = |mask: Vec<Lanes>| {
                    floats(&mask).iter().filter(|v| v.to_bits() == u32::MAX).count()
                };
                assert_eq!(plane.pixels(unit).map_or(plane.vectors() * LANES, of), n, "{plane:?}");
            }
        }
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
        // The blocks would fit in memory, but not their images.
        let many = Plane { batch: wraps, ..plane };
        let mut out = vec![Lanes::ZERO; 2];
        let copied = std::panic::catch_unwind(move || from_nchw(&many, &[1.0; 2], &mut out));
        assert!(copied.is_err());
    }
}
