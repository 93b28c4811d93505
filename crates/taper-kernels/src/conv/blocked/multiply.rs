//! The inner loops: a band of destination rows from packed source rows.
//!
//! A destination pixel is one chain of multiply-adds over source channels and kernel positions, in their order, for dense
//! and sparse weights alike. So both give the same bits, wherever the source is finite: a weight of zero changes nothing
//! but the sign of a zero, and a zero that is stored is positive.

use super::{
    gather::Gather,
    packed::Packed,
    weights::{DenseWeights, SPARSE_TILE, SparsePhase, SparseWeights},
};
use crate::{
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd},
    sizes::signed,
};
use std::ops::Range;

/// What a chain begins with.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    /// 0.
    Zero,
    /// The channel's bias.
    Bias(&'a [f32]),
    /// What is there already.
    Stored,
}

/// Where a row of one channel and phase is written and read.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) src: *const f32,
    pub(super) dst: *mut f32,
    /// Destination columns of the phase.
    pub(super) len: usize,
}

/// The rows of a band in one phase, as places in floats.
#[inline(always)]
unsafe fn row(
    gather: &Gather,
    packed: &Packed,
    band: &Range<usize>,
    y: usize,
    (channel, px): (usize, usize),
    dst: &mut [Lanes],
) -> Row {
    let to = ((y - band.start) * gather.dst_channels() + channel) * gather.dst.1 + px;
    // SAFETY: the row is one of the band's and the channel one of the destination's. The source place is that of
    // the first source column of a row, which may lie outside of the packed rows: a tap's offset brings it inside.
    unsafe {
        Row {
            src: packed
                .pixels()
                .as_ptr()
                .cast::<f32>()
                .wrapping_offset(packed.place(gather.src_row(y)) * signed(LANES)),
            dst: dst.as_mut_ptr().cast::<f32>().add(to * LANES),
            len: gather.phase_width(px),
        }
    }
}

/// Computes the destination rows `band` of a block from dense weights.
///
/// # Safety
/// As [`band`](super::band::band).
#[inline(always)]
pub(super) unsafe fn dense<S: Simd>(
    gather: &Gather,
    weights: &DenseWeights,
    packed: &Packed,
    band: Range<usize>,
    start: Start,
    dst: &mut [Lanes],
) {
    for tile in &weights.tiles {
        let group = signed(tile.group * gather.group_src * gather.packed_width * LANES);
        for y in band.clone() {
            for px in 0..gather.dst_step.min(gather.dst.1) {
                let phase = &weights.phases[y % gather.dst_step * gather.dst_step + px];
                let n = phase.offsets.len();
                let values = &phase.values[tile.first * n..][..tile.len * n];
                // SAFETY: as the caller vouches; the values are those of the tile.
                unsafe {
                    let mut row = row(gather, packed, &band, y, (tile.first, px), dst);
                    row.src = row.src.wrapping_offset(group);
                    let at = DenseRow {
                        row,
                        offsets: &phase.offsets,
                        values,
                        start,
                        first: tile.first,
                        src_step: gather.src_step * LANES,
                        dst_step: gather.dst_step * LANES,
                        channel_step: gather.dst.1 * LANES,
                    };
                    at.call::<S>(tile.len);
                }
            }
        }
    }
}

/// A row of some channels, from all positions.
pub(super) struct DenseRow<'a> {
    pub(super) row: Row,
    pub(super) offsets: &'a [i32],
    pub(super) values: &'a [f32],
    pub(super) start: Start<'a>,
    pub(super) first: usize,
    pub(super) src_step: usize,
    pub(super) dst_step: usize,
    pub(super) channel_step: usize,
}

/// `O` channels of a row.
struct DenseChannels<'a, const O: usize>(DenseRow<'a>);

impl<const O: usize> Kernel for DenseChannels<'_, O> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (at, mut j) = (self.0, 0);
        // SAFETY: each tile lies within the row.
        unsafe {
            if S::ACCUMULATORS >= 24 || O <= 2 {
                while j + 4 <= at.row.len {
                    at.tile::<S, O, 4>(j);
                    j += 4;
                }
            }
            while j + 2 <= at.row.len {
                at.tile::<S, O, 2>(j);
                j += 2;
            }
            if j < at.row.len {
                at.tile::<S, O, 1>(j);
            }
        }
    }
}

impl DenseRow<'_> {
    /// Computes `channels` channels, as many as a tile may have.
    #[inline(always)]
    pub(super) unsafe fn call<S: Simd>(self, channels: usize) {
        // SAFETY: as the caller vouches.
        unsafe {
            match channels {
                6 => S::call(DenseChannels::<6>(self)),
                4 => S::call(DenseChannels::<4>(self)),
                2 => S::call(DenseChannels::<2>(self)),
                _ => S::call(DenseChannels::<1>(self)),
            }
        }
    }

    /// `O` channels of `P` pixels from column `j` of the phase.
    #[inline(always)]
    unsafe fn tile<S: Simd, const O: usize, const P: usize>(&self, j: usize) {
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: places are within the band, as the caller vouches.
            unsafe {
                let src = self.row.src.wrapping_add(j * self.src_step + part);
                let dst = self.row.dst.add(j * self.dst_step + part);
                let mut sums = [[S::splat(0.0); P]; O];
                for (o, sums) in sums.iter_mut().enumerate() {
                    for (p, sum) in sums.iter_mut().enumerate() {
                        let to = dst.add(o * self.channel_step + p * self.dst_step);
                        *sum = begin::<S>(self.start, self.first + o, to);
                    }
                }
                let mut values = self.values.as_ptr();
                if self.src_step == LANES {
                    for &offset in self.offsets {
                        step::<S, O, P>(
                            &mut sums,
                            src.wrapping_offset(offset as isize),
                            values,
                            LANES,
                        );
                        values = values.add(O);
                    }
                } else {
                    for &offset in self.offsets {
                        let src = src.wrapping_offset(offset as isize);
                        step::<S, O, P>(&mut sums, src, values, self.src_step);
                        values = values.add(O);
                    }
                }
                for (o, sums) in sums.iter().enumerate() {
                    for (p, sum) in sums.iter().enumerate() {
                        let to = dst.add(o * self.channel_step + p * self.dst_step);
                        S::store(to, unsigned_zero::<S>(*sum));
                    }
                }
            }
        }
    }
}

/// One position of the kernel for a tile.
#[inline(always)]
unsafe fn step<S: Simd, const O: usize, const P: usize>(
    sums: &mut [[S::V; P]; O],
    src: *const f32,
    values: *const f32,
    src_step: usize,
) {
    // SAFETY: the caller gives `P` pixels and `O` values.
    unsafe {
        let mut pixels = [S::splat(0.0); P];
        for (p, pixel) in pixels.iter_mut().enumerate() {
            *pixel = S::load(src.add(p * src_step));
        }
        for (o, sums) in sums.iter_mut().enumerate() {
            let weight = S::splat(*values.add(o));
            for (sum, pixel) in sums.iter_mut().zip(pixels) {
                *sum = S::fma(pixel, weight, *sum);
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn begin<S: Simd>(start: Start, channel: usize, at: *const f32) -> S::V {
    // SAFETY: the caller gives a valid place.
    unsafe {
        match start {
            Start::Zero => S::splat(0.0),
            Start::Bias(bias) => S::splat(bias[channel]),
            Start::Stored => S::load(at),
        }
    }
}

/// The same vector with zeros that are positive. A chain may end at a negative one where its products underflow, or
/// where it begins at one; the product of a weight of zero then makes it positive, which sparse weights do not have.
#[inline(always)]
unsafe fn unsigned_zero<S: Simd>(sum: S::V) -> S::V {
    // SAFETY: the caller vouches for the instructions.
    unsafe { S::add(sum, S::splat(0.0)) }
}

/// Computes the destination rows `band` of a block from sparse weights.
///
/// # Safety
/// As [`band`](super::band::band).
#[inline(always)]
pub(super) unsafe fn sparse<S: Simd>(
    gather: &Gather,
    weights: &SparseWeights,
    packed: &Packed,
    band: Range<usize>,
    start: Start,
    dst: &mut [Lanes],
) {
    for chunk in 0..weights.n_chunks {
        let start = if chunk == 0 { start } else { Start::Stored };
        for y in band.clone() {
            for px in 0..gather.dst_step.min(gather.dst.1) {
                let phase = &weights.phases[y % gather.dst_step * gather.dst_step + px];
                // SAFETY: as the caller vouches.
                unsafe {
                    let row = row(gather, packed, &band, y, (0, px), dst);
                    S::call(SparseRow {
                        row,
                        phase,
                        chunk,
                        is_last: chunk + 1 == weights.n_chunks,
                        tile: weights.tile,
                        start,
                        channels: gather.dst_channels(),
                        src_step: gather.src_step * LANES,
                        dst_step: gather.dst_step * LANES,
                        channel_step: gather.dst.1 * LANES,
                    });
                }
            }
        }
    }
}

/// One row of all channels, from one chunk of the source.
struct SparseRow<'a> {
    row: Row,
    phase: &'a SparsePhase,
    chunk: usize,
    is_last: bool,
    /// Columns of the largest tile.
    tile: usize,
    start: Start<'a>,
    channels: usize,
    src_step: usize,
    dst_step: usize,
    channel_step: usize,
}

impl Kernel for SparseRow<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (mut j, len) = (0, self.row.len);
        // SAFETY: each tile lies within the row.
        unsafe {
            if self.tile == SPARSE_TILE && S::ACCUMULATORS >= SPARSE_TILE {
                while j + SPARSE_TILE <= len {
                    self.tiles::<S, SPARSE_TILE>(j);
                    j += SPARSE_TILE;
                }
            }
            while j + 8 <= len {
                self.tiles::<S, 8>(j);
                j += 8;
            }
            if j + 4 <= len {
                self.tiles::<S, 4>(j);
                j += 4;
            }
            if j + 2 <= len {
                self.tiles::<S, 2>(j);
                j += 2;
            }
            if j < len {
                self.tiles::<S, 1>(j);
            }
        }
    }
}

impl SparseRow<'_> {
    /// `P` columns of every channel.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const P: usize>(&self, j: usize) {
        for channel in 0..self.channels {
            let entries = self.phase.entries(self.chunk, channel);
            // The last chunk makes zeros positive.
            if entries.is_empty() && matches!(self.start, Start::Stored) && !self.is_last {
                continue;
            }
            for part in (0..LANES).step_by(S::WIDTH) {
                // SAFETY: places are within the band, as the caller vouches.
                unsafe {
                    let src = self.row.src.wrapping_add(j * self.src_step + part);
                    let dst = self.row.dst.add(channel * self.channel_step);
                    let dst = dst.add(j * self.dst_step + part);
                    if self.chunk == 0 {
                        // The channel after the next one: by the time that it is stored, its lines are there.
                        let soon = dst.wrapping_add(2 * self.channel_step);
                        (0..P).for_each(|p| S::will_write(soon.wrapping_add(p * self.dst_step)));
                    }
                    let mut sums = [S::splat(0.0); P];
                    for (p, sum) in sums.iter_mut().enumerate() {
                        *sum = begin::<S>(self.start, channel, dst.add(p * self.dst_step));
                    }
                    if self.src_step == LANES {
                        for entry in entries {
                            let src = src.wrapping_offset(entry.offset as isize);
                            add_entry::<S, P>(&mut sums, src, entry.weight, LANES);
                        }
                    } else {
                        for entry in entries {
                            let src = src.wrapping_offset(entry.offset as isize);
                            add_entry::<S, P>(&mut sums, src, entry.weight, self.src_step);
                        }
                    }
                    if self.is_last {
                        for sum in &mut sums {
                            *sum = unsigned_zero::<S>(*sum);
                        }
                    }
                    for (p, sum) in sums.iter().enumerate() {
                        S::store(dst.add(p * self.dst_step), *sum);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn add_entry<S: Simd, const P: usize>(
    sums: &mut [S::V; P],
    src: *const f32,
    weight: f32,
    src_step: usize,
) {
    // SAFETY: the caller gives `P` pixels.
    unsafe {
        let weight = S::splat(weight);
        for (p, sum) in sums.iter_mut().enumerate() {
            *sum = S::fma(S::load(src.add(p * src_step)), weight, *sum);
        }
    }
}
