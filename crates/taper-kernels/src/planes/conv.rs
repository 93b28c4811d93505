//! Convolution of one image's planes by a list of taps.

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

    /// Applies it to vectors.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd, const N: usize>(self, values: &mut [S::V; N]) {
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
                        for value in values {
                            *value = S::at_most(*value, most);
                        }
                    }
                }
                Self::Leaky { slope } => {
                    let (zero, slope) = (S::splat(0.0), S::splat(slope));
                    for value in values {
                        let below = S::mul(S::at_most(*value, zero), slope);
                        *value = S::add(S::at_least(*value, zero), below);
                    }
                }
            }
        }
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
#[derive(Clone, Debug)]
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

/// How pixels in other columns are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Each output channel has a list of the pixels that it reads.
    Own,
    /// All output channels have a weight for each pixel that one of them reads, in the same order.
    Shared,
}

/// What a convolution computes, and where.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// Layout of the results. The pitch is that of the planes that are read.
    pub layout: &'a Layout,
    /// How pixels in other columns are reached.
    pub columns: Columns,
    /// The output channels.
    pub outputs: &'a [Output],
    /// What follows the sums.
    pub finish: Finish,
    /// How weights are packed.
    pub packing: Packing,
    /// Floats of the arena.
    pub arena: usize,
    /// Where in the arena a plane of zeros begins.
    pub zero: u32,
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

/// Vectors of a tile and output channels at a time: those that leave registers for a weight and pixels, where there are
/// thirty-two of them or a few.
const OWN: [(usize, usize); 14] = [
    (16, 1),
    (15, 1),
    (14, 1),
    (12, 1),
    (10, 1),
    (8, 1),
    (7, 1),
    (6, 1),
    (5, 1),
    (4, 4),
    (4, 2),
    (3, 1),
    (2, 4),
    (1, 8),
];
const OWN_IN_FEW: [(usize, usize); 10] =
    [(12, 1), (10, 1), (8, 1), (7, 1), (6, 1), (5, 1), (4, 2), (3, 1), (2, 4), (1, 8)];
const SHARED: [(usize, usize); 5] = [(6, 4), (4, 6), (3, 8), (2, 12), (1, 24)];
const SHARED_IN_FEW: [(usize, usize); 4] = [(4, 3), (3, 4), (2, 6), (1, 12)];

/// The tiles for vectors of so many floats: those of own taps, and of shared ones.
fn choices(lanes: usize) -> [&'static [(usize, usize)]; 2] {
    match lanes == 16 || cfg!(target_arch = "aarch64") {
        true => [&OWN, &SHARED],
        false => [&OWN_IN_FEW, &SHARED_IN_FEW],
    }
}

impl Conv {
    /// Whether sums can be shifted along rows of so many vectors.
    pub fn shifts_rows(lanes: usize, vectors: usize) -> bool {
        choices(lanes)[0].iter().any(|(tile, _)| tile.is_multiple_of(vectors))
    }

    /// Packs it.
    ///
    /// # Panics
    /// If a source or output lies outside of the arena.
    pub fn new(variant: Variant, spec: &Spec<'_>) -> Self {
        let &Spec { layout, columns, outputs, finish, packing: kernel, arena, zero } = spec;
        let lanes = layout.lanes;
        let shifts = || outputs.iter().flat_map(|o| &o.sources).map(|s| s.shift);
        let down = shifts().max().unwrap_or(0).max(0) as usize;
        let up = shifts().min().unwrap_or(0).min(0).unsigned_abs() as usize;
        let in_place = columns == Columns::InPlace;
        let is_shifted = down + up > 0 && !in_place;
        // Tiles begin where rows do, if sums are shifted along them.
        let per_row = (layout.pitch / lanes).max(1);
        let (unit, n_units) = match is_shifted {
            true => (per_row, layout.vectors() / per_row),
            false => (1, layout.vectors()),
        };
        let [own, shared] = choices(lanes);
        let fits = |(vectors, each): (usize, usize)| {
            let has_room = !is_shifted || (vectors, each) != (4, 4);
            vectors.is_multiple_of(unit) && vectors / unit <= n_units && has_room
        };
        // Rows of odd numbers of vectors have few tiles.
        let is_shared = kernel == Packing::Shared && shared.iter().any(|&choice| fits(choice));
        let choices = if is_shared { shared } else { own };
        // What a tile costs: its vectors for all channels, and something for itself.
        let cost = |(vectors, each): (usize, usize)| {
            let (units, own) = (vectors / unit, if is_shared { 1 } else { 3 });
            let channels = if is_shared { outputs.len().next_multiple_of(each) } else { 1 };
            n_units.div_ceil(units) * (vectors * channels + own)
        };
        let chosen = choices.iter().copied().filter(|&c| fits(c)).min_by_key(|&c| cost(c));
        let (vectors, each) = chosen.expect("a row has a number of vectors that tiles have");
        let units = vectors / unit;
        let bytes = |vectors: usize| (vectors * lanes * 4) as u32;
        let tiles: Vec<u32> = (0..n_units.div_ceil(units))
            .map(|tile| bytes((tile * units).min(n_units - units) * unit))
            .collect();
        let n_blocks = outputs.len().div_ceil(each);
        let mut order: Vec<usize> = (0..outputs.len()).collect();
        if each > 1 && !is_shared {
            order.sort_by_key(|&o| std::cmp::Reverse(outputs[o].sources.len()));
        }
        let end = *tiles.last().expect("a layout has vectors") as usize / 4 + vectors * lanes;
        let check = |at: u32| assert!(at as usize + end <= arena, "{at} is outside of the arena");
        check(zero);
        let tap = |weight: f32, at: u32| {
            check(at);
            Tap { weight, at: at * 4 }
        };
        let mut bounds = Vec::with_capacity(n_blocks * (down + up + 1) + 1);
        let (mut taps, mut places, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let (mut outs, mut bias, mut addend_bounds) = (Vec::new(), Vec::new(), Vec::new());
        for block in order.chunks(each) {
            // From the farthest on each side: a sum is shifted once more for each column.
            let groups = (0..=down as i32).rev().chain((1..=up as i32).rev().map(|s| -s));
            for shift in groups {
                bounds.push(if is_shared { places.len() } else { taps.len() } as u32);
                let lists: Vec<Vec<Tap>> = block
                    .iter()
                    .map(|&o| {
                        let sources = outputs[o].sources.iter().filter(|s| s.shift == shift);
                        let taps = sources.map(|s| tap(s.weight, s.at));
                        let is_last = shift == 0 && !is_shared;
                        let addends = outputs[o].addends.iter().filter(|_| is_last);
                        taps.chain(addends.map(|&at| tap(1.0, at))).collect()
                    })
                    .collect();
                if is_shared {
                    let first = &lists[0];
                    for (i, tap) in first.iter().enumerate() {
                        places.push(tap.at);
                        for o in 0..each {
                            let Some(list) = lists.get(o) else {
                                weights.push(0.0);
                                continue;
                            };
                            assert!(
                                list.len() == first.len() && list[i].at == tap.at,
                                "other taps"
                            );
                            weights.push(list[i].weight);
                        }
                    }
                    continue;
                }
                push_steps(&mut taps, &lists, each, tap(0.0, zero));
            }
            if is_shared {
                let addends =
                    |&o: &usize| outputs[o].addends.iter().map(|&at| tap(1.0, at)).collect();
                let lists: Vec<Vec<Tap>> = block.iter().map(addends).collect();
                addend_bounds.push(taps.len() as u32);
                push_steps(&mut taps, &lists, each, tap(0.0, zero));
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
        bounds.push(if is_shared { places.len() } else { taps.len() } as u32);
        addend_bounds.push(taps.len() as u32);
        let row = match layout.pitch > layout.columns.max(columns.most()) {
            _ if !is_shifted => PADDED,
            true if down.max(up) == 1 => PADDED,
            false
                if matches!(layout.pitch / lanes, 1 | 2 | 4)
                    && matches!(vectors, 4 | 8 | 16)
                    && each != 2 =>
            {
                layout.pitch / lanes
            }
            _ => MASKED,
        };
        let bits = |keep: bool| f32::from_bits(if keep { u32::MAX } else { 0 });
        let tile_mask = |keep: &dyn Fn(usize) -> bool| -> Vec<f32> {
            (0..vectors * lanes).map(|i| bits(keep(i % layout.pitch))).collect()
        };
        let (not_first, not_last) = match row == MASKED {
            true => (tile_mask(&|c| c != 0), tile_mask(&|c| c != layout.pitch - 1)),
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
            packing: if is_shared { Packing::Shared } else { Packing::Own },
            row,
            arena,
            finish,
            down,
            up,
            in_place,
            tiles,
            outputs: outs,
            bias,
            bounds,
            taps,
            places,
            weights,
            addend_bounds,
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

/// Adds lists of taps side by side: the first of each, then the second of each. What a list lacks, `none` stands for.
fn push_steps(taps: &mut Vec<Tap>, lists: &[Vec<Tap>], each: usize, none: Tap) {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    for i in 0..longest {
        for o in 0..each {
            taps.push(lists.get(o).and_then(|list| list.get(i)).copied().unwrap_or(none));
        }
    }
}

#[cfg(test)]
mod tests;
