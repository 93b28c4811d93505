//! Convolution of one image's planes by a list of taps.

use super::{
    layout::Layout,
    tile::{MASKED, Own, PADDED, Tap},
};
use crate::{
    simd::{Kernel, launch_on},
    Variant,
};
use std::ops::Range;

/// What follows the sums of an output channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// Nothing.
    None,
    /// `min(max(x, min), max)`; ReLU has an infinite maximum.
    Clip {
        /// The least value.
        min: f32,
        /// The largest value.
        max: f32,
    },
    /// `x` where it is at least 0, else `slope·x`.
    Leaky {
        /// Factor below 0.
        slope: f32,
    },
}

impl Finish {
    /// `max(x, 0)`.
    pub const RELU: Self = Self::Clip { min: 0.0, max: f32::INFINITY };
}

/// A weight and the pixels that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// The weight.
    pub weight: f32,
    /// Where the pixel lies that the weight multiplies for the first output pixel, without the shift: an index into the
    /// arena.
    pub at: u32,
    /// Columns to the right of that pixel; the columns beyond an end of a row are 0.
    pub shift: i32,
}

/// An output channel.
#[derive(Clone, Debug)]
pub struct Output {
    /// Index of its first pixel in the arena.
    pub at: u32,
    /// What its sums begin with.
    pub bias: f32,
    /// Its weights, in the order of their sum within a shift.
    pub sources: Vec<Source>,
}

/// A convolution of planes that lie in one arena, for one image.
///
/// An output pixel is `((Σ left, shifted) + bias + (Σ right, shifted)) + Σ centre`, each sum a chain of fused multiply-adds in
/// the order of the sources. So results do not depend on the instruction set, nor on how channels are split over threads.
#[derive(Debug)]
pub struct Conv {
    variant: Variant,
    lanes: usize,
    vectors: usize,
    each: usize,
    row: usize,
    arena: usize,
    pub(super) finish: Finish,
    /// Shifts to the left and to the right: groups of taps are those of the right, the left, and the centre.
    pub(super) down: usize,
    pub(super) up: usize,
    /// Bytes from the first tile to each.
    pub(super) tiles: Vec<u32>,
    pub(super) outputs: Vec<u32>,
    pub(super) bias: Vec<f32>,
    pub(super) bounds: Vec<u32>,
    taps: Vec<Tap>,
    /// Bits that columns other than the first, or the last, of a row keep in a shift.
    pub(super) not_first: Vec<f32>,
    pub(super) not_last: Vec<f32>,
    /// For each tile, the bits that are kept where a layout has more than its columns; empty where it has not.
    pub(super) masks: Vec<f32>,
}

/// Vectors of a tile for which there is a kernel.
const VECTORS: [usize; 13] = [16, 15, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1];

impl Conv {
    /// Packs the output channels for planes of this layout. `arena` is the number of floats in the arena, of which the one at
    /// `zero` begins a plane of zeros.
    ///
    /// # Panics
    /// If a source or output lies outside of the arena.
    pub fn new(
        variant: Variant,
        layout: &Layout,
        outputs: &[Output],
        finish: Finish,
        arena: usize,
        zero: u32,
    ) -> Self {
        let lanes = layout.lanes;
        let shifts = || outputs.iter().flat_map(|o| &o.sources).map(|s| s.shift);
        let down = shifts().max().unwrap_or(0).max(0) as usize;
        let up = shifts().min().unwrap_or(0).min(0).unsigned_abs() as usize;
        let is_shifted = down + up > 0;
        // Tiles begin where rows do, if sums are shifted along them.
        let per_row = (layout.pitch / lanes).max(1);
        let (unit, n_units) = match is_shifted {
            true => (per_row, layout.vectors() / per_row),
            false => (1, layout.vectors()),
        };
        // Accumulators beside a weight and what it multiplies.
        let most = if lanes == 16 || cfg!(target_arch = "aarch64") { 16 } else { 12 };
        let cost = |vectors: usize| {
            let units = vectors / unit;
            // What a tile costs beside its vectors.
            (n_units.div_ceil(units) * (vectors + 3), usize::MAX - vectors)
        };
        let vectors = VECTORS
            .into_iter()
            .filter(|&v| v <= most && v % unit == 0 && v / unit <= n_units)
            .min_by_key(|&v| cost(v));
        let vectors = vectors.expect("a row has a number of vectors that tiles have");
        let units = vectors / unit;
        let bytes = |vectors: usize| (vectors * lanes * 4) as u32;
        let tiles: Vec<u32> = (0..n_units.div_ceil(units))
            .map(|tile| bytes((tile * units).min(n_units - units) * unit))
            .collect();
        let each = match vectors {
            1 => 8,
            2 => 4,
            4 if !is_shifted => 4,
            4 => 2,
            _ => 1,
        };
        let n_blocks = outputs.len().div_ceil(each);
        let mut order: Vec<usize> = (0..outputs.len()).collect();
        if each > 1 {
            order.sort_by_key(|&o| std::cmp::Reverse(outputs[o].sources.len()));
        }
        let end = *tiles.last().expect("a layout has vectors") as usize / 4 + vectors * lanes;
        let check = |at: u32| assert!(at as usize + end <= arena, "{at} is outside of the arena");
        check(zero);
        let mut bounds = Vec::with_capacity(n_blocks * (down + up + 1) + 1);
        let mut taps = Vec::new();
        let (mut outs, mut bias) = (Vec::new(), Vec::new());
        for block in order.chunks(each) {
            // From the farthest on each side: a sum is shifted once more for each column.
            let groups = (1..=down as i32).rev().chain((1..=up as i32).rev().map(|s| -s)).chain([0]);
            for shift in groups {
                bounds.push(taps.len() as u32);
                let lists: Vec<Vec<Tap>> = block
                    .iter()
                    .map(|&o| {
                        let sources = outputs[o].sources.iter().filter(|s| s.shift == shift);
                        sources
                            .map(|s| {
                                check(s.at);
                                Tap { weight: s.weight, at: s.at * 4 }
                            })
                            .collect()
                    })
                    .collect();
                let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
                for i in 0..longest {
                    for o in 0..each {
                        let none = Tap { weight: 0.0, at: zero * 4 };
                        taps.push(lists.get(o).and_then(|l| l.get(i)).copied().unwrap_or(none));
                    }
                }
            }
            for i in 0..each {
                match block.get(i) {
                    Some(&o) => {
                        check(outputs[o].at);
                        outs.push(outputs[o].at * 4);
                        bias.push(outputs[o].bias);
                    }
                    None => {
                        outs.push(u32::MAX);
                        bias.push(0.0);
                    }
                }
            }
        }
        bounds.push(taps.len() as u32);
        let row = match layout.pitch > layout.columns {
            _ if !is_shifted => PADDED,
            true if down.max(up) == 1 => PADDED,
            false if matches!(layout.pitch / lanes, 1 | 2 | 4) && matches!(vectors, 8 | 16) => {
                layout.pitch / lanes
            }
            _ => MASKED,
        };
        let bits = |keep: bool| f32::from_bits(if keep { u32::MAX } else { 0 });
        let tile_mask = |keep: &dyn Fn(usize) -> bool| -> Vec<f32> {
            (0..vectors * lanes).map(|i| bits(keep(i % layout.pitch))).collect()
        };
        let (not_first, not_last) = match row == MASKED {
            true => {
                (tile_mask(&|c| c != 0), tile_mask(&|c| c != layout.columns - 1 && c != layout.pitch - 1))
            }
            false => (Vec::new(), Vec::new()),
        };
        let masks = match layout.is_full() {
            true => Vec::new(),
            false => tiles
                .iter()
                .flat_map(|&start| {
                    let start = start as usize / 4;
                    (start..start + vectors * lanes).map(|i| {
                        bits(i % layout.pitch < layout.columns && i / layout.pitch < layout.rows)
                    })
                })
                .collect(),
        };
        Self {
            variant,
            lanes,
            vectors,
            each,
            row,
            arena,
            finish,
            down,
            up,
            tiles,
            outputs: outs,
            bias,
            bounds,
            taps,
            not_first,
            not_last,
            masks,
        }
    }

    /// Blocks of output channels, which may be computed in any order.
    pub fn n_blocks(&self) -> usize {
        self.outputs.len() / self.each
    }

    /// Bytes of its weights and tables.
    pub fn bytes(&self) -> usize {
        8 * self.taps.len() + 4 * (self.bounds.len() + 2 * self.outputs.len() + self.masks.len())
    }

    /// The kernel in short: vectors of a tile × output channels at a time.
    pub fn name(&self) -> String {
        format!("sparse {}x{} of {} lanes", self.vectors, self.each, self.lanes)
    }

    pub(super) fn taps(&self, range: Range<u32>) -> &[Tap] {
        debug_assert!(range.end as usize <= self.taps.len());
        // SAFETY: bounds are those that `new` has pushed.
        unsafe { self.taps.get_unchecked(range.start as usize..range.end as usize) }
    }

    /// Computes blocks of output channels.
    ///
    /// # Panics
    /// If the arena is not the one that was packed for, or there are fewer blocks.
    pub fn run(&self, arena: &mut [f32], blocks: Range<usize>) {
        assert!(arena.len() >= self.arena && blocks.end <= self.n_blocks(), "another arena");
        let arena = arena.as_mut_ptr();
        macro_rules! choose {
            ($(($nv:literal, $no:literal, $row:tt)),* $(,)?) => {
                match (self.vectors, self.each, self.row) {
                    $(($nv, $no, $row) => self.launch(Own::<$nv, $no, { $row }> { conv: self, arena, blocks }),)*
                    (nv, no, row) => unreachable!("no kernel of {nv} × {no} vectors, rows {row}"),
                }
            };
        }
        choose!(
            (16, 1, 1), (16, 1, 2), (16, 1, 4), (16, 1, PADDED), (16, 1, MASKED),
            (15, 1, PADDED), (15, 1, MASKED), (14, 1, PADDED), (14, 1, MASKED),
            (12, 1, PADDED), (12, 1, MASKED), (10, 1, PADDED), (10, 1, MASKED),
            (8, 1, 1), (8, 1, 2), (8, 1, 4), (8, 1, PADDED), (8, 1, MASKED),
            (7, 1, PADDED), (7, 1, MASKED), (6, 1, PADDED), (6, 1, MASKED),
            (5, 1, PADDED), (5, 1, MASKED), (4, 2, PADDED), (4, 2, MASKED), (4, 4, PADDED),
            (3, 1, PADDED), (3, 1, MASKED), (2, 4, PADDED), (2, 4, MASKED),
            (1, 8, PADDED), (1, 8, MASKED),
        );
    }

    fn launch(&self, kernel: impl Kernel<Out = ()>) {
        launch_on(self.variant, self.lanes, kernel);
    }
}
