//! Random crops and flips of images. They depend only on `(seed, epoch, index)`.

use crate::order::AUGMENT;
use crate::{DataError, ImageShape, Result};
use std::str::FromStr;
use taper_core::rng::Rng;

/// The random augmentation of training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Augment {
    /// No augmentation.
    #[default]
    None,
    /// Pads by one pixel, then crops to the original size: a shift by at most one pixel in each direction. For digits,
    /// which must not be flipped.
    Shift,
    /// Pads by four pixels, crops to the original size, and flips with probability ½: the usual augmentation of CIFAR.
    CropFlip,
}

impl Augment {
    /// The names in configuration files.
    pub const NAMES: [&'static str; 3] = ["none", "shift", "crop-flip"];

    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shift => "shift",
            Self::CropFlip => "crop-flip",
        }
    }

    /// The crop and flip of image `index` in `epoch`.
    ///
    /// The random numbers come from [`Rng::for_key`] with `[seed, epoch, index, 2]`. The first is the vertical offset,
    /// the second the horizontal offset, the third (its top bit) the flip. This does not depend on the shape of the
    /// image.
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

/// A crop and flip. The pixel at `(y, x)` of the result is the source pixel at `(y + dy, x + dx)`; outside the source,
/// it is black (0). Afterwards, `flip` mirrors the result left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CropFlip {
    /// Vertical offset in pixels; positive moves the window down.
    pub dy: isize,
    /// Horizontal offset in pixels; positive moves the window right.
    pub dx: isize,
    /// Whether the result is mirrored.
    pub flip: bool,
}

impl CropFlip {
    /// Writes the cropped, flipped and normalised `source` to `target`, both `[channels, height, width]`. `tables` has
    /// a table for each channel, with the normalised value of every pixel value. Padding is black *before*
    /// normalisation.
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
        // The table does not map 0 to 0. So the test distinguishes padding before and after normalisation.
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
    fn views_have_fixed_values() {
        // Expected values from a separate implementation of the documented rule.
        let views = [0, 1, 2].map(|i| Augment::CropFlip.view(0, 0, i));
        let expected = [(2, 2, false), (-4, -2, true), (2, -3, true)];
        assert_eq!(views, expected.map(|(dy, dx, flip)| CropFlip { dy, dx, flip }));
    }

    #[test]
    fn views_depend_on_seed_epoch_and_image() {
        let view = |seed, epoch, index| Augment::CropFlip.view(seed, epoch, index);
        for [seed, epoch, index] in [[1, 2, 3], [7, 3, 40]] {
            let mut draws = Rng::for_key([seed, epoch, index, 2]);
            let (dy, dx) = (draws.below(9) as isize - 4, draws.below(9) as isize - 4);
            let flip = draws.next_u64() >> 63 == 1;
            assert_eq!(view(seed, epoch, index), CropFlip { dy, dx, flip });
        }
        let all = |seed, epoch| (0..20).map(|index| view(seed, epoch, index)).collect::<Vec<_>>();
        assert!(all(1, 0) != all(0, 1) && all(0, 0) != all(0, 1) && all(0, 0) != all(1, 0));
    }

    #[test]
    fn views_are_uniformly_distributed() {
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
