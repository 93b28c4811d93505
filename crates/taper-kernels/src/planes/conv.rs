//! Convolution of one image's planes by a list of taps.

mod choice;
mod pack;

pub use choice::Tile;
pub(super) use choice::{MASKED, is_needed};
#[cfg(feature = "training")]
pub(crate) use pack::AllWeights;

use super::{
    spec::{Epilogue, TapLists},
    tile::{Own, Shared, Tables, Tap, Tiles},
};
use crate::{
    Variant,
    simd::{Ahead, Kernel, launch_on},
};
use choice::PADDED;
use std::ops::Range;

/// A convolution of planes that lie in one arena, for one image.
///
/// An output pixel is `((bias + Σ right, shifted) + Σ centre) + (Σ left, shifted)`. Each sum is a chain of fused
/// multiply-adds in the order of the sources. Results therefore depend neither on the instruction set nor on the split
/// of channels over threads.
#[derive(Debug)]
pub struct PlaneConv {
    variant: Variant,
    lanes: usize,
    vectors: usize,
    each: usize,
    lists: TapLists,
    row: usize,
    arena: usize,
    finish: Epilogue,
    /// Whether denormal results become 0.
    flushes: bool,
    /// Number of shifts of sums to the left (`down`) and to the right (`up`). Groups of taps are in this order: pixels
    /// to the right, the centre, pixels to the left.
    down: usize,
    up: usize,
    /// Whether groups only decide the order of the sum, without shifts.
    in_place: bool,
    /// Bytes from the first tile to each tile.
    tiles: Vec<u32>,
    outputs: Vec<u32>,
    bias: Vec<f32>,
    bounds: Vec<u32>,
    taps: Vec<Tap>,
    /// Used instead of `taps` if channels share them: places, and for each place one weight per channel of a block.
    places: Vec<u32>,
    weights: Vec<f32>,
    /// Bounds of the taps of each block that are not shared: planes that are added.
    addend_bounds: Vec<u32>,
    /// Bit masks for shifts: all columns of a row except the first, and all except the last.
    not_first: Vec<f32>,
    not_last: Vec<f32>,
    /// For each tile, a bit mask of the lanes that hold pixels; empty if all lanes do.
    masks: Vec<f32>,
}

impl PlaneConv {
    /// Number of blocks of output channels. Blocks may be computed in any order.
    pub fn n_blocks(&self) -> usize {
        self.outputs.len() / self.each
    }

    /// Bytes of its weights and tables.
    pub fn bytes(&self) -> usize {
        8 * self.taps.len()
            + 4 * (self.places.len() + self.weights.len())
            + 4 * (self.bounds.len() + 2 * self.outputs.len() + self.masks.len())
    }

    /// A short name of the kernel: vectors of a tile × output channels at a time.
    pub fn name(&self) -> String {
        let kind = match self.lists {
            TapLists::Own => "sparse",
            TapLists::Shared => "dense",
        };
        format!("{kind} {}x{} of {} lanes", self.vectors, self.each, self.lanes)
    }

    /// Computes blocks of output channels.
    ///
    /// # Panics
    /// If the arena is shorter than specified, or blocks are out of range.
    pub fn run(&self, arena: &mut [f32], blocks: Range<usize>) {
        self.run_ahead(arena, blocks, &mut Ahead::default());
    }

    /// Number of steps of [`run_ahead`](Self::run_ahead) for all blocks.
    #[cfg(feature = "training")]
    pub(crate) fn steps(&self) -> usize {
        self.tiles.len() * self.n_blocks()
    }

    /// Computes blocks of output channels, and prefetches memory at each step.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub(crate) fn run_ahead(&self, arena: &mut [f32], blocks: Range<usize>, ahead: &mut Ahead) {
        assert!(
            arena.len() >= self.arena && blocks.end <= self.n_blocks(),
            "the arena or the blocks do not fit the packed convolution"
        );
        let arena = arena.as_mut_ptr();
        macro_rules! choose {
            ($kernel:ident: $(($nv:literal, $no:literal, $row:tt)),* $(,)?) => {
                match (self.vectors, self.each, self.row) {
                    $(($nv, $no, $row) => self.launch(Tiles::<$kernel, $nv, $no, { $row }>::new(self.tables(), arena, blocks, ahead)),)*
                    (nv, no, row) => unreachable!("no kernel of {nv} × {no} vectors, rows {row}"),
                }
            };
        }
        match self.lists {
            TapLists::Own => choose!(
                Own: (16, 1, 1), (16, 1, 2), (16, 1, 4), (16, 1, PADDED), (16, 1, MASKED),
                (15, 1, PADDED), (15, 1, MASKED), (14, 1, PADDED), (14, 1, MASKED),
                (12, 1, PADDED), (12, 1, MASKED), (10, 1, PADDED), (10, 1, MASKED),
                (8, 1, 1), (8, 1, 2), (8, 1, 4), (8, 1, PADDED), (8, 1, MASKED),
                (7, 1, PADDED), (7, 1, MASKED), (6, 1, PADDED), (6, 1, MASKED),
                (5, 1, PADDED), (5, 1, MASKED), (4, 2, PADDED), (4, 2, MASKED), (4, 4, PADDED),
                (3, 1, PADDED), (3, 1, MASKED), (2, 4, PADDED), (2, 4, MASKED),
                (1, 8, PADDED), (1, 8, MASKED),
            ),
            TapLists::Shared => choose!(
                Shared: (6, 4, PADDED), (6, 4, MASKED), (4, 6, PADDED), (4, 6, MASKED),
                (4, 6, 1), (4, 6, 2), (4, 6, 4), (3, 8, PADDED), (3, 8, MASKED),
                (2, 12, PADDED), (2, 12, MASKED), (1, 24, PADDED), (1, 24, MASKED),
                (4, 3, PADDED), (4, 3, MASKED), (4, 3, 1), (4, 3, 2), (4, 3, 4),
                (3, 4, PADDED), (3, 4, MASKED), (2, 6, PADDED), (2, 6, MASKED),
                (1, 12, PADDED), (1, 12, MASKED),
            ),
        }
    }

    fn launch(&self, kernel: impl Kernel<Out = ()>) {
        launch_on(self.variant, self.lanes, kernel);
    }

    fn tables(&self) -> Tables<'_> {
        Tables {
            finish: self.finish,
            flushes: self.flushes,
            down: self.down,
            up: self.up,
            in_place: self.in_place,
            tiles: &self.tiles,
            outputs: &self.outputs,
            bias: &self.bias,
            bounds: &self.bounds,
            taps: &self.taps,
            places: &self.places,
            weights: &self.weights,
            addend_bounds: &self.addend_bounds,
            not_first: &self.not_first,
            not_last: &self.not_last,
            masks: &self.masks,
        }
    }
}

#[cfg(test)]
mod tests;
