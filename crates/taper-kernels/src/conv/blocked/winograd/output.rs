//! The output, and the gradient of the input, which is the same with the weight turned round.

use super::{Buffers, InputPoints, POINTS, make_room};
use crate::{
    conv::blocked::{
        gather::{Gather, KernelTap},
        multiply::{DenseRow, Row, Start, begin},
        packed::Packed,
        weights::{ChannelTile, tiles},
    },
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd},
    sizes::{offset, signed},
};
use std::ops::Range;

/// Weights brought to points.
#[derive(Clone, Debug)]
pub(in super::super) struct WinogradWeights {
    /// Tiles of destination channels, in their order.
    tiles: Vec<ChannelTile>,
    /// Point by point; the weights of the tile that starts at channel `c` begin at `c·(source channels)` of these, and
    /// its channels alternate fastest.
    values: Vec<f32>,
}

impl WinogradWeights {
    pub(in super::super) fn new(gather: &Gather, weight: &[f32]) -> Self {
        let (outs, ins) = (gather.dst_channels(), gather.src_channels());
        let tiles = tiles(gather);
        let window: Vec<&KernelTap> = gather.window().collect();
        let mut values = vec![0.0; POINTS * outs * ins];
        for &ChannelTile { first, len, .. } in &tiles {
            for src in 0..ins {
                for dst in 0..len {
                    let g: [f32; 9] = std::array::from_fn(|i| {
                        weight[gather.weight(0, first + dst, src, window[i].position)]
                    });
                    let place = first * ins + src * len + dst;
                    for (point, value) in points(&g).into_iter().enumerate() {
                        values[point * outs * ins + place] = value;
                    }
                }
            }
        }
        Self { tiles, values }
    }
}

/// `G·g·Gᵀ`.
fn points(g: &[f32; 9]) -> [f32; POINTS] {
    let spread = |a: f32, b: f32, c: f32| [a, 0.5 * ((a + c) + b), 0.5 * ((a + c) - b), c];
    let left: [[f32; 4]; 3] = std::array::from_fn(|c| spread(g[c], g[3 + c], g[6 + c]));
    let mut all = [0.0; POINTS];
    for (row, all) in all.chunks_exact_mut(4).enumerate() {
        all.copy_from_slice(&spread(left[0][row], left[1][row], left[2][row]));
    }
    all
}

/// Computes the destination rows `band` of a block.
///
/// # Panics
/// If the band does not begin and end at even rows.
///
/// # Safety
/// As [`band`](super::super::band::band).
#[inline(always)]
pub(in super::super) unsafe fn band<S: Simd>(
    gather: &Gather,
    weights: &WinogradWeights,
    packed: &Packed,
    band: Range<usize>,
    start: Start,
    mut buffers: Buffers,
    dst: &mut [Lanes],
) {
    assert!(band.start.is_multiple_of(2) && band.len().is_multiple_of(2), "rows of tiles");
    let (outs, ins) = (gather.dst_channels(), gather.src_channels());
    let (rows, cols) = (band.len() / 2, gather.dst.1 / 2);
    let tiles = rows * cols;
    make_room(&mut buffers, (outs, ins), tiles);
    let (sums, points) = buffers;
    let offsets: Vec<i32> = (0..ins).map(|src| offset(signed(src * tiles * LANES))).collect();
    for column in 0..4 {
        for y in 0..rows {
            let (row, first, to) = (band.start + 2 * y, y * cols, &mut *points);
            // SAFETY: the rows of a tile are the band's.
            unsafe {
                S::call(InputPoints { gather, source: packed, row, column, first, tiles, cols, to })
            };
        }
        for row in 0..4 {
            let values = &weights.values[(4 * row + column) * outs * ins..][..outs * ins];
            let (src, sums) = (&points[row * ins * tiles..], &mut sums[row * outs * tiles..]);
            for tile in &weights.tiles {
                // SAFETY: each channel has `tiles` places on both sides.
                unsafe {
                    let dst = sums[tile.first * tiles..].as_mut_ptr().cast();
                    let at = DenseRow {
                        row: Row { src: src.as_ptr().cast(), dst, len: tiles },
                        offsets: &offsets,
                        values: &values[tile.first * ins..][..tile.len * ins],
                        start: Start::Zero,
                        first: tile.first,
                        src_step: LANES,
                        dst_step: LANES,
                        channel_step: tiles * LANES,
                    };
                    at.call::<S>(tile.len);
                }
            }
        }
        for y in 0..rows {
            let sums = &sums[y * cols..];
            let dst = &mut dst[2 * y * outs * gather.dst.1..];
            // SAFETY: the caller vouches for the instructions.
            unsafe { S::call(OutputRow { sums, column, start, tiles, cols, channels: outs, dst }) };
        }
    }
}

/// Adds one column of sums to a row of output tiles.
struct OutputRow<'a> {
    /// `[row of points, channel, tile]`, from the first tile of the row on.
    sums: &'a [Lanes],
    column: usize,
    start: Start<'a>,
    tiles: usize,
    cols: usize,
    channels: usize,
    /// From the first of two rows on.
    dst: &'a mut [Lanes],
}

impl Kernel for OutputRow<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { sums, column, start, tiles, cols, channels, dst } = self;
        let (row, step) = (channels * 2 * cols, channels * tiles * LANES);
        assert!(
            dst.len() >= 2 * row
                && sums.len() >= 3 * channels * tiles + tiles * (channels - 1) + cols
        );
        for channel in 0..channels {
            // SAFETY: the lengths were asserted.
            unsafe {
                let from = sums.as_ptr().cast::<f32>().add(channel * tiles * LANES);
                let to = dst.as_mut_ptr().cast::<f32>().add(channel * 2 * cols * LANES);
                for i in (0..cols * LANES).step_by(S::WIDTH) {
                    let at = i / LANES * 2 * LANES + i % LANES;
                    let [a, b, c, d]: [S::V; 4] = [
                        S::load(from.add(i)),
                        S::load(from.add(step + i)),
                        S::load(from.add(2 * step + i)),
                        S::load(from.add(3 * step + i)),
                    ];
                    let upper = S::add(a, S::add(b, c));
                    let lower = S::sub(S::sub(b, c), d);
                    for (value, to) in [(upper, to.add(at)), (lower, to.add(row * LANES + at))] {
                        let right = to.add(LANES);
                        match column {
                            0 => S::store(to, S::add(begin::<S>(start, channel, to), value)),
                            1 => {
                                S::store(to, S::add(S::load(to), value));
                                S::store(right, S::add(begin::<S>(start, channel, right), value));
                            }
                            2 => {
                                S::store(to, S::add(S::load(to), value));
                                S::store(right, S::sub(S::load(right), value));
                            }
                            _ => S::store(right, S::sub(S::load(right), value)),
                        }
                    }
                }
            }
        }
    }
}
