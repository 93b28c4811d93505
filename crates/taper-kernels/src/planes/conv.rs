//! Convolution of one image's planes by a list of taps.

mod choice;
mod pack;

pub use choice::Tile;
pub(super) use choice::is_needed;

use super::{
    layout::Layout,
    tile::{MASKED, Own, PADDED, Shared, Tables, Tap, Tiles},
};
use crate::{
    Variant,
    simd::{Kernel, Simd, launch_on},
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

    /// Applies it to vectors of sums, of which those that are denormal become 0 if it `flushes`.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd, const N: usize>(
        self,
        flushes: bool,
        values: &mut [S::V; N],
    ) {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            match self {
                Self::None => {}
                Self::Clip { min, max } => {
                    let least = S::splat(min);
                    for value in values.iter_mut() {
                        *value = S::at_least(*value, least);
                    }
                    // ReLU has no maximum, and one instruction less.
                    if max < f32::INFINITY {
                        let most = S::splat(max);
                        for value in values.iter_mut() {
                            *value = S::at_most(*value, most);
                        }
                    }
                }
                Self::Leaky { slope } => {
                    let (zero, slope) = (S::splat(0.0), S::splat(slope));
                    for value in values.iter_mut() {
                        let below = S::mul(S::at_most(*value, zero), slope);
                        *value = S::add(S::at_least(*value, zero), below);
                    }
                }
            }
            if flushes {
                for value in values {
                    *value = S::flush(*value);
                }
            }
        }
    }

    /// Whether results of sums that begin with this bias are to be flushed. With a bias of ordinary size they need not be:
    /// the last place of such a number is no denormal number, so a sum is denormal only where other terms cancel the bias to
    /// the last bit.
    pub(super) fn flushes(self, bias: f32) -> bool {
        bias.abs() < 1e-30 || matches!(self, Self::Leaky { .. })
    }
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
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Index of its first pixel in the arena.
    pub at: u32,
    /// What its sums begin with.
    pub bias: f32,
    /// Its weights, in the order of their sum within a shift.
    pub sources: Vec<Source>,
    /// Begins of planes that are added at the end.
    pub addends: Vec<u32>,
}

/// The output channels of a convolution. Each is made when it is packed, as sources take several times the memory of weights.
pub trait Outputs {
    /// How many there are.
    fn count(&self) -> usize;

    /// An output channel, from 0 on. Weights of 0 are among its sources if the packing is [`Packing::Shared`], and may be
    /// left out otherwise.
    fn output(&self, channel: usize, packing: Packing) -> Output;

    /// About how many sources of a channel are not 0: channels with as many are computed together.
    fn n_sources(&self, channel: usize) -> usize {
        self.output(channel, Packing::Own).sources.len()
    }
}

/// Channels that are there.
impl Outputs for Vec<Output> {
    fn count(&self) -> usize {
        self.len()
    }

    fn output(&self, channel: usize, _: Packing) -> Output {
        self[channel].clone()
    }
}

/// How pixels in other columns are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Columns {
    /// Sums are shifted along rows. Planes that are read have at most so many columns, with zeros behind them up to the pitch.
    Shifted(usize),
    /// Sources lie where their shift says, and rows have as many zeros between them as that reaches.
    InPlace,
}

impl Columns {
    fn most(self) -> usize {
        match self {
            Self::Shifted(columns) => columns,
            Self::InPlace => 0,
        }
    }
}

/// How weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Each output channel has a list of the pixels that it reads.
    Own,
    /// All output channels have a weight for each pixel that one of them reads, in the same order.
    Shared,
}

/// What is known of the windows of a convolution. [`Depthwise`](super::Depthwise) alone takes those that are not any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Windows {
    /// Nothing.
    Any,
    /// Each output channel has windows of three rows and columns around the pixels of one plane, which is a vector. Rows above
    /// and below it are 0, whatever lies there in memory.
    Alone,
    /// Each output channel has windows of three rows and columns around every second row and column of a plane of this layout.
    /// Sources are those of the first output pixel.
    Strided(Layout),
}

/// What a convolution computes, and where.
#[derive(Clone, Copy)]
pub struct Spec<'a> {
    /// Layout of the results. The pitch is that of the planes that are read.
    pub layout: &'a Layout,
    /// How pixels in other columns are reached.
    pub columns: Columns,
    /// Columns to the left and to the right that sources are shifted by at most.
    pub reach: [usize; 2],
    /// The output channels.
    pub outputs: &'a dyn Outputs,
    /// What follows the sums.
    pub finish: Finish,
    /// What is known of the windows of output channels.
    pub windows: Windows,
    /// Floats of the arena.
    pub arena: usize,
    /// Where in the arena a plane of zeros begins.
    pub zero: u32,
}

impl Spec<'_> {
    /// Whether sums are shifted along rows.
    fn is_shifted(&self) -> bool {
        self.reach != [0, 0] && self.columns != Columns::InPlace
    }
}

/// A convolution of planes that lie in one arena, for one image.
///
/// An output pixel is `((bias + Σ right, shifted) + Σ centre) + (Σ left, shifted)`, each sum a chain of fused multiply-adds in
/// the order of the sources. So results do not depend on the instruction set, nor on how channels are split over threads.
#[derive(Debug)]
pub struct Conv {
    variant: Variant,
    lanes: usize,
    vectors: usize,
    each: usize,
    packing: Packing,
    row: usize,
    arena: usize,
    finish: Finish,
    /// Whether denormal results become 0.
    flushes: bool,
    /// Shifts to the left and to the right: groups of taps are those of the right, the centre, and the left.
    down: usize,
    up: usize,
    /// Whether groups are for the order of the sum alone, and not shifted.
    in_place: bool,
    /// Bytes from the first tile to each.
    tiles: Vec<u32>,
    outputs: Vec<u32>,
    bias: Vec<f32>,
    bounds: Vec<u32>,
    taps: Vec<Tap>,
    /// Instead of taps, where channels share them: places, and a weight of each channel of a block for each.
    places: Vec<u32>,
    weights: Vec<f32>,
    /// Where the taps of each block are that are not shared: planes that are added.
    addend_bounds: Vec<u32>,
    /// Bits that columns other than the first, or the last, of a row keep in a shift.
    not_first: Vec<f32>,
    not_last: Vec<f32>,
    /// For each tile, the bits that are kept where a layout has more than its columns; empty where it has not.
    masks: Vec<f32>,
}

impl Conv {
    /// Packs it for a tile that [`Tile::choices`] gives.
    ///
    /// # Panics
    /// If a source or output lies outside of the arena or of the reach, or there is no such tile.
    pub fn new(variant: Variant, spec: &Spec<'_>, tile: Tile) -> Self {
        pack::pack(variant, spec, tile)
    }

    /// Blocks of output channels, which may be computed in any order.
    pub fn n_blocks(&self) -> usize {
        self.outputs.len() / self.each
    }

    /// Bytes of its weights and tables.
    pub fn bytes(&self) -> usize {
        8 * self.taps.len()
            + 4 * (self.places.len() + self.weights.len())
            + 4 * (self.bounds.len() + 2 * self.outputs.len() + self.masks.len())
    }

    /// The kernel in short: vectors of a tile × output channels at a time.
    pub fn name(&self) -> String {
        let kind = match self.packing {
            Packing::Own => "sparse",
            Packing::Shared => "dense",
        };
        format!("{kind} {}x{} of {} lanes", self.vectors, self.each, self.lanes)
    }

    /// Computes blocks of output channels.
    ///
    /// # Panics
    /// If the arena is not the one that was packed for, or there are fewer blocks.
    pub fn run(&self, arena: &mut [f32], blocks: Range<usize>) {
        assert!(arena.len() >= self.arena && blocks.end <= self.n_blocks(), "another arena");
        let arena = arena.as_mut_ptr();
        macro_rules! choose {
            ($kernel:ident: $(($nv:literal, $no:literal, $row:tt)),* $(,)?) => {
                match (self.vectors, self.each, self.row) {
                    $(($nv, $no, $row) => self.launch(Tiles::<$kernel, $nv, $no, { $row }>::new(self.tables(), arena, blocks)),)*
                    (nv, no, row) => unreachable!("no kernel of {nv} × {no} vectors, rows {row}"),
                }
            };
        }
        match self.packing {
            Packing::Own => choose!(
                Own: (16, 1, 1), (16, 1, 2), (16, 1, 4), (16, 1, PADDED), (16, 1, MASKED),
                (15, 1, PADDED), (15, 1, MASKED), (14, 1, PADDED), (14, 1, MASKED),
                (12, 1, PADDED), (12, 1, MASKED), (10, 1, PADDED), (10, 1, MASKED),
                (8, 1, 1), (8, 1, 2), (8, 1, 4), (8, 1, PADDED), (8, 1, MASKED),
                (7, 1, PADDED), (7, 1, MASKED), (6, 1, PADDED), (6, 1, MASKED),
                (5, 1, PADDED), (5, 1, MASKED), (4, 2, PADDED), (4, 2, MASKED), (4, 4, PADDED),
                (3, 1, PADDED), (3, 1, MASKED), (2, 4, PADDED), (2, 4, MASKED),
                (1, 8, PADDED), (1, 8, MASKED),
            ),
            Packing::Shared => choose!(
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
