//! Products of points: one matrix product for each point.

use super::{POINTS, PointSizes};
use crate::{
    conv::blocked::product::Product,
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd},
};

/// `sums[point, row, channel] += Σ rows[point, tile, row]·channels[point, tile, channel]`, over tiles in their order,
/// for the gradient of the weight.
pub(super) struct OverTiles<'a> {
    pub(super) rows: &'a [Lanes],
    pub(super) row_sizes: PointSizes,
    pub(super) channels: &'a [Lanes],
    pub(super) channel_sizes: PointSizes,
    /// Number of tiles in use.
    pub(super) n_tiles: usize,
    /// `[point, row, sixteen channels]`; the rows fill whole groups.
    pub(super) sums: &'a mut [Lanes],
}

impl Kernel for OverTiles<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rows, row_sizes, channels, channel_sizes, n_tiles, sums } = self;
        let (n_rows, groups) = (row_sizes.groups * LANES, channel_sizes.groups);
        assert!(rows.len() >= row_sizes.len() && channels.len() >= channel_sizes.len());
        assert!(n_tiles <= row_sizes.tiles.min(channel_sizes.tiles));
        assert_eq!(sums.len(), POINTS * n_rows * groups, "a sum for each pair and point");
        for point in 0..POINTS {
            let rows = &rows[point * row_sizes.point()..];
            let channels = &channels[point * channel_sizes.point()..];
            let sums = &mut sums[point * n_rows * groups..][..n_rows * groups];
            // One operand is a vector of each channel group, the other is a number.
            let operands = |row: usize, group: usize| Product {
                numbers: rows[row / LANES * row_sizes.tiles..]
                    .as_ptr()
                    .cast::<f32>()
                    .wrapping_add(row % LANES),
                number_step: LANES,
                next_number: 1,
                vectors: channels[group * channel_sizes.tiles..].as_ptr().cast(),
                vector_step: LANES,
                next_vector: channel_sizes.tiles * LANES,
                n: n_tiles,
            };
            let place = |row: usize, group: usize| (row * groups + group) * LANES;
            let to = sums.as_mut_ptr().cast::<f32>();
            // SAFETY: the lengths were asserted for these rows and groups.
            unsafe {
                for row in (0..n_rows).step_by(8) {
                    let mut group = 0;
                    while group < groups {
                        let product = operands(row, group);
                        let to = to.add(place(row, group));
                        group +=
                            product.tiles::<S>(groups - group, to, groups * LANES, LANES, true);
                    }
                }
            }
        }
    }
}

/// `sums[point, tile, channel] = Σ weights[point, source, channel]·sources[point, tile, source]`, over sources in their
/// order, for the output.
pub(super) struct OverChannels<'a> {
    /// `[point, source, sixteen channels]`.
    pub(super) weights: &'a [Lanes],
    pub(super) n_sources: usize,
    pub(super) sources: &'a [Lanes],
    pub(super) source_sizes: PointSizes,
    /// Number of tiles in use.
    pub(super) n_tiles: usize,
    pub(super) sums: &'a mut [Lanes],
    pub(super) sum_sizes: PointSizes,
}

impl Kernel for OverChannels<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { weights, n_sources, sources, source_sizes, n_tiles, sums, sum_sizes } = self;
        let groups = sum_sizes.groups;
        assert!(sources.len() >= source_sizes.len() && sums.len() >= sum_sizes.len());
        assert!(n_tiles <= source_sizes.tiles.min(sum_sizes.tiles));
        assert!(n_sources <= source_sizes.groups * LANES);
        assert_eq!(weights.len(), POINTS * n_sources * groups, "a weight for each pair and point");
        for point in 0..POINTS {
            let weights = &weights[point * n_sources * groups..][..n_sources * groups];
            let sources = &sources[point * source_sizes.point()..];
            let sums = &mut sums[point * sum_sizes.point()..];
            let to = sums.as_mut_ptr().cast::<f32>();
            for first in (0..n_tiles).step_by(8) {
                let tiles = (n_tiles - first).min(8);
                let mut group = 0;
                while group < groups {
                    let mut done = 0;
                    for (i, source) in (0..n_sources).step_by(LANES).enumerate() {
                        let product = Product {
                            numbers: sources[i * source_sizes.tiles + first..].as_ptr().cast(),
                            number_step: 1,
                            next_number: LANES,
                            vectors: weights[source * groups + group..].as_ptr().cast(),
                            vector_step: groups * LANES,
                            next_vector: LANES,
                            n: (n_sources - source).min(LANES),
                        };
                        // SAFETY: the lengths were asserted for these tiles and groups.
                        unsafe {
                            let to = to.add((group * sum_sizes.tiles + first) * LANES);
                            let next = sum_sizes.tiles * LANES;
                            done = match tiles {
                                8 => product.tiles::<S>(groups - group, to, LANES, next, i > 0),
                                _ => product.few::<S>(tiles, to, LANES, i > 0),
                            };
                        }
                    }
                    group += done.max(1);
                }
            }
        }
    }
}
