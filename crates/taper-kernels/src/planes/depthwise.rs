//! Depthwise convolution with 3×3 windows, weights of zero included.

mod run;
mod window;

use super::{
    layout::{Layout, expect_inside},
    spec::{Columns, ConvSpec, Epilogue, Output, TapLists, WeightedPixel, WindowKind},
};
use crate::Variant;
use window::{Phases, Whole, places};

/// A convolution in which each output channel reads a 3×3 window: of one plane, of the four planes that
/// [`ParitySplit`](super::ParitySplit) makes of one, or of every second pixel of a plane.
///
/// An output pixel is bit-identical to that of [`PlaneConv`](super::PlaneConv), if the latter multiplies zeros as well.
#[derive(Debug)]
pub struct Depthwise {
    variant: Variant,
    /// Layout of the results, with the vectors of the kernel.
    layout: Layout,
    arena: usize,
    finish: Epilogue,
    flushes: bool,
    reads: Reads,
    /// Floats from the first pixel of a channel to each pixel that is read for it.
    places: [i32; 6],
    channels: Vec<Channel>,
    /// Bit masks for shifts, if a vector is one or several rows: all columns of a row except the last, and all except
    /// the first.
    not_last: Vec<f32>,
    not_first: Vec<f32>,
    /// For each vector of a plane, a bit mask of the lanes that hold pixels; empty if all lanes do.
    masks: Vec<f32>,
}

/// The planes that windows read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    /// A plane.
    Whole,
    /// A plane that is one vector; rows above and below it count as zeros.
    Alone,
    /// The four planes of a parity split.
    Phases,
    /// Every second pixel of a plane. Its rows have at least two vectors, twice those of the result.
    Wide,
    /// Every second pixel of a plane. Each of its rows is one vector.
    Paired,
}

impl Reads {
    /// How every second pixel of planes of layout `from` is read for planes of layout `to`, and the floats of the
    /// vectors.
    fn strided(from: &Layout, to: &Layout) -> Option<(Self, usize)> {
        if from.pitch != 2 * to.pitch {
            return None;
        }
        let is_wide = from.lanes == to.lanes && from.pitch.is_multiple_of(2 * from.lanes);
        // Each machine has vectors of each of these lengths up to its longest.
        let is_paired = [4, 8, 16].contains(&from.pitch) && from.pitch <= to.lanes;
        match (is_wide, is_paired) {
            (true, _) => Some((Self::Wide, to.lanes)),
            (false, true) => Some((Self::Paired, from.pitch)),
            (false, false) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    /// The pixel that the places are relative to, and the first pixel that is written.
    from: u32,
    to: u32,
    bias: f32,
    weights: [f32; 9],
}

impl Depthwise {
    /// Packs a convolution. `None` if it has other windows, sums are not shifted along rows, or the layout is not
    /// [whole](Layout::is_whole).
    ///
    /// # Panics
    /// If a source or output lies outside of the arena.
    pub fn new(variant: Variant, spec: &ConvSpec<'_>) -> Option<Self> {
        let &ConvSpec { layout, columns, outputs, finish, windows, arena, .. } = spec;
        // Distances between places are stored with a sign.
        assert!(i32::try_from(arena).is_ok(), "the arena has 2³¹ floats or more");
        if columns == Columns::InPlace || outputs.count() == 0 || !layout.is_whole() {
            return None;
        }
        // Weights of zero are included.
        let output = |channel: usize| outputs.output(channel, TapLists::Shared);
        let Output { sources: pattern, .. } = output(0);
        let has_right = pattern.iter().any(|source| source.shift > 0);
        let (reads, lanes) = match (windows, has_right) {
            (WindowKind::Strided(from), _) => Reads::strided(&from, layout)?,
            (WindowKind::Alone, _) => {
                assert!(layout.vectors() == 1, "{layout:?} is not one vector");
                (Reads::Alone, layout.lanes)
            }
            (WindowKind::Any, true) => (Reads::Whole, layout.lanes),
            (WindowKind::Any, false) => (Reads::Phases, layout.lanes),
        };
        let places = match reads {
            Reads::Phases => places::<Phases>(&pattern)?,
            _ => places::<Whole>(&pattern)?,
        };
        let layout = &Layout { lanes, ..*layout };
        let end = layout.plane_len();
        // Floats from the place of a source to the end of the data that is read from there.
        let read = match windows {
            WindowKind::Strided(from) => Self::reads(&from, layout),
            _ => end,
        };
        let mut channels = Vec::with_capacity(outputs.count());
        for channel in 0..outputs.count() {
            let Output { at: to, bias, sources, addends } = output(channel);
            let from = sources.first()?.at;
            let is_alike = |(a, b): (&WeightedPixel, &WeightedPixel)| {
                a.shift == b.shift && a.at.wrapping_sub(from) == b.at.wrapping_sub(pattern[0].at)
            };
            let is_window = sources.len() == 9 && addends.is_empty();
            if !is_window || !sources.iter().zip(&pattern).all(is_alike) {
                return None;
            }
            // With `Alone`, reading begins at the row of the pixel itself; nothing around the plane is read.
            let (from, read_at) = match windows {
                WindowKind::Alone => {
                    let own = from.wrapping_add_signed(places[1]);
                    (own, vec![own])
                }
                _ => (from, sources.iter().map(|source| source.at).collect()),
            };
            for (at, end) in read_at.into_iter().map(|at| (at, read)).chain([(to, end)]) {
                expect_inside(at, end, arena);
            }
            let mut weights = [0.0; 9];
            let of_column = |shift| sources.iter().filter(move |source| source.shift == shift);
            let by_column = [1, 0, -1].into_iter().flat_map(of_column);
            weights.iter_mut().zip(by_column).for_each(|(weight, source)| *weight = source.weight);
            if let WindowKind::Strided(_) = windows {
                // With a whole plane, pixels to the right are in the sum of the centre column, row by row.
                let [d, e, f, a, b, c, left @ ..] = weights;
                weights[..6].copy_from_slice(&[a, d, b, e, c, f]);
                weights[6..].copy_from_slice(&left);
            }
            channels.push(Channel { from, to, bias, weights });
        }
        let bits = |keep: bool| f32::from_bits(if keep { u32::MAX } else { 0 });
        let row = |keep: &dyn Fn(usize) -> bool| match layout.pitch <= layout.lanes {
            true => (0..layout.lanes).map(|i| bits(keep(i % layout.pitch))).collect(),
            false => Vec::new(),
        };
        let is_pixel =
            |i: usize| i % layout.pitch < layout.columns && i / layout.pitch < layout.rows;
        Some(Self {
            variant,
            layout: *layout,
            arena,
            finish,
            flushes: channels.iter().any(|channel| finish.flushes(channel.bias)),
            reads,
            places,
            channels,
            not_last: row(&|column| column != layout.pitch - 1),
            not_first: row(&|column| column != 0),
            masks: match layout.is_full() {
                true => Vec::new(),
                false => (0..end).map(|i| bits(is_pixel(i))).collect(),
            },
        })
    }

    /// Bytes of its weights and tables.
    pub fn bytes(&self) -> usize {
        size_of::<Channel>() * self.channels.len() + 4 * self.masks.len()
    }

    /// Whether every second pixel of planes of layout `from` can be read for planes of layout `to`.
    pub fn strides(from: &Layout, to: &Layout) -> bool {
        Reads::strided(from, to).is_some()
    }

    /// Floats from a window's pixel in the first row to the end of the data that is read from there for all rows, for
    /// layouts that it [strides](Self::strides).
    pub fn reads(from: &Layout, to: &Layout) -> usize {
        let rows = match Reads::strided(from, to) {
            // A vector has two rows of the output and reads four rows.
            Some((Reads::Paired, lanes)) => 4 * (to.rows * to.pitch).div_ceil(lanes) - 1,
            _ => 2 * to.rows - 1,
        };
        rows * from.pitch
    }
}

#[cfg(test)]
mod tests;
