//! Random crops and flips of one image, decided by `(seed, epoch, index)` alone.

use crate::order::AUGMENT;
use crate::{DataError, ImageShape, Result};
use std::str::FromStr;
use taper_core::rng::Rng;

/// What is done at random to each training image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Augment {
    /// Nothing.
    #[default]
    None,
    /// Pad by one pixel, then crop to the old size: a shift by at most one pixel each way. For digits, which must not
    /// be mirrored.
    Shift,
    /// Pad by four pixels, crop to the old size, and mirror every other image: CIFAR's usual augmentation.
    CropFlip,
}

impl Augment {
    /// The names that configuration files use.
    pub const NAMES: [&'static str; 3] = ["none", "shift", "crop-flip"];

    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shift => "shift",
            Self::CropFlip => "crop-flip",
        }
    }

    /// What happens to image `index` of the split in `epoch` under `seed`.
    ///
    /// Draws from [`Rng::for_key`] of `[seed, epoch, index, 2]`: first the vertical offset, then the horizontal one, then the
    /// flip (the top bit), each one draw, whatever the shape of the image.
    pub fn view(self, seed: u64, epoch: u64, index: u64) -> CropFlip {
        let pad = match self {
            Self::None => return CropFlip::default(),
            Self::Shift => 1,
            Self::CropFlip => 4,
        };
        let mut stream = Rng::for_key([seed, epoch, index, AUGMENT]);
        let dy = stream.below(2 * pad + 1) as isize - pad as isize;
        let dx = stream.below(2 * pad + 1) as isize - pad as isize;
        let flip = self == Self::CropFlip && stream.next_u64() >> 63 == 1;
        CropFlip { dy, dx, flip }
    }
}

impl FromStr for Augment {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self> {
        [Self::None, Self::Shift, Self::CropFlip].into_iter().find(|a| a.name() == name).ok_or_else(
            || {
                DataError::Invalid(format!(
                    "no augmentation is named `{name}`; known are {}",
                    Self::NAMES.map(|n| format!("`{n}`")).join(", ")
                ))
            },
        )
    }
}

/// The window through which an image is seen: the pixel at `(y, x)` of the result is the pixel at `(y + dy, x + dx)` of
/// the source, black (0) where that lies outside; `flip` mirrors the result left to right afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CropFlip {
    /// Rows by which the window lies below the image's top (negative: above).
    pub dy: isize,
    /// Columns by which the window lies right of the image's left edge (negative: left).
    pub dx: isize,
    /// Whether the window is mirrored.
    pub flip: bool,
}

impl CropFlip {
    /// Writes the normalised view of `source` to `target`, both `[channels, height, width]`; `tables` holds the
    /// normalised value of every pixel value, a table for each channel. Padding is black *before* normalisation.
    pub(crate) fn render(
        self,
        shape: ImageShape,
        source: &[u8],
        tables: &[[f32; 256]],
        target: &mut [f32],
    ) {
        let ImageShape { height, width, .. } = shape;
        let area = height * width;
        for ((source, target), table) in
            source.chunks_exact(area).zip(target.chunks_exact_mut(area)).zip(tables)
        {
            for (y, row) in target.chunks_exact_mut(width).enumerate() {
                match y.checked_add_signed(self.dy).filter(|&y| y < height) {
                    None => row.fill(table[0]),
                    Some(y) => {
                        let line = &source[y * width..][..width];
                        for (x, value) in row.iter_mut().enumerate() {
                            let pixel = x
                                .checked_add_signed(self.dx)
                                .and_then(|x| line.get(x))
                                .copied()
                                .unwrap_or(0);
                            *value = table[usize::from(pixel)];
                        }
                    }
                }
                if self.flip {
                    row.reverse();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 2, width: 3 };

    fn seen(view: CropFlip) -> Vec<f32> {
        // A table that does not map 0 to 0, so that padding before and after normalisation differ.
        let table = std::array::from_fn(|p| p as f32 + 100.0);
        let mut out = vec![0.0; 6];
        view.render(SHAPE, &[1, 2, 3, 4, 5, 6], &[table], &mut out);
        out.iter().map(|v| v - 100.0).collect()
    }

    #[test]
    fn views_shift_pad_and_mirror() {
        assert_eq!(seen(CropFlip::default()), [1., 2., 3., 4., 5., 6.]);
        assert_eq!(seen(CropFlip { dy: 1, dx: 0, flip: false }), [4., 5., 6., 0., 0., 0.]);
        assert_eq!(seen(CropFlip { dy: -1, dx: 1, flip: false }), [0., 0., 0., 2., 3., 0.]);
        assert_eq!(seen(CropFlip { dy: 0, dx: -1, flip: false }), [0., 1., 2., 0., 4., 5.]);
        assert_eq!(seen(CropFlip { dy: 0, dx: 1, flip: true }), [0., 3., 2., 0., 6., 5.]);
        assert_eq!(seen(CropFlip { dy: 4, dx: -4, flip: true }), [0.0; 6]);
    }

    #[test]
    fn choices_have_these_literal_values() {
        // Computed by a separate program from the documented rule.
        let views = [0, 1, 2].map(|i| Augment::CropFlip.view(0, 0, i));
        let expected = [(2, 2, false), (-4, -2, true), (2, -3, true)];
        assert_eq!(views, expected.map(|(dy, dx, flip)| CropFlip { dy, dx, flip }));
    }

    #[test]
    fn choices_cover_their_range_evenly() {
        for (augment, pad) in [(Augment::Shift, 1), (Augment::CropFlip, 4)] {
            let (n, mut flips) = (20_000u64, 0);
            let mut counts = vec![0u32; 81];
            for i in 0..n {
                let view = augment.view(3, 1, i);
                assert!(view.dy.abs() <= pad && view.dx.abs() <= pad);
                counts[((view.dy + 4) * 9 + view.dx + 4) as usize] += 1;
                flips += u64::from(view.flip);
            }
            let cells = ((2 * pad + 1) * (2 * pad + 1)) as u32;
            let mean = n as u32 / cells;
            let used: Vec<_> = counts.into_iter().filter(|&c| c > 0).collect();
            assert_eq!(used.len(), cells as usize);
            assert!(used.iter().all(|&c| c > mean / 2 && c < mean * 3 / 2), "{used:?}");
            match augment {
                Augment::CropFlip => assert!((9_500..10_500).contains(&flips), "{flips}"),
                _ => assert_eq!(flips, 0),
            }
        }
        assert_eq!(Augment::None.view(1, 2, 3), CropFlip::default());
    }

    #[test]
    fn names_round_trip() {
        for name in Augment::NAMES {
            assert_eq!(name.parse::<Augment>().unwrap().name(), name);
        }
        assert!("flip".parse::<Augment>().unwrap_err().to_string().contains("`crop-flip`"));
    }
}
