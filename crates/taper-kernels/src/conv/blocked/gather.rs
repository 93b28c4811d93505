//! Where an output pixel reads: the convolution and its transpose in one form.
//!
//! Both sum, over the positions of the kernel, a weight times a pixel of the source. A destination row `y` reads for
//! kernel row `k` the source row
//!
//! ```text
//! (y·src_step + offset(k)) / dst_step      where that divides, and is a row
//! ```
//!
//! with `src_step` the stride and `dst_step` 1 for the convolution, and the other way round for its transpose; columns
//! alike. Rows and columns of the destination that are equal modulo `dst_step` form a *phase*, within which the
//! positions that divide are the same, so each phase has one list of [`KernelTap`]s.

use super::super::ConvShape;
use crate::{
    lanes::LANES,
    sizes::{offset, product, signed},
};
use std::ops::Range;

/// A position of the kernel as seen from a destination pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct KernelTap {
    /// Index `ky·kernel_w + kx` into the weight of a pair of channels.
    pub(super) position: usize,
    /// Source row of the phase's first destination row.
    row: isize,
    /// Source column of the phase's first destination column.
    col: isize,
}

/// The geometry of one direction of a convolution.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    pub(super) is_transposed: bool,
    pub(super) groups: usize,
    /// Source channels in a group.
    pub(super) group_src: usize,
    /// Destination channels in a group.
    pub(super) group_dst: usize,
    pub(super) kernel_len: usize,
    /// Destination rows and columns.
    pub(super) dst: (usize, usize),
    pub(super) src_step: usize,
    pub(super) dst_step: usize,
    /// Zeros before the columns of a packed source row.
    pub(super) left: usize,
    /// Columns of a packed source row, zeros included.
    pub(super) packed_width: usize,
    /// Taps of each phase, rows first.
    taps: Vec<Vec<KernelTap>>,
}

impl Gather {
    /// The convolution itself: from the input to the output.
    pub(super) fn forward(shape: &ConvShape) -> Self {
        Self::new(shape, false)
    }

    /// Its transpose: from the gradient of the output to that of the input.
    pub(super) fn transposed(shape: &ConvShape) -> Self {
        Self::new(shape, true)
    }

    fn new(shape: &ConvShape, is_transposed: bool) -> Self {
        let (input, output) = ((shape.height, shape.width), shape.out_hw());
        // So that no sum of sizes below can wrap around.
        for size in [shape.height, shape.width] {
            offset(signed(size + 2 * shape.padding));
        }
        let (src, dst) = if is_transposed { (output, input) } else { (input, output) };
        let (src_step, dst_step) =
            if is_transposed { (1, shape.stride) } else { (shape.stride, 1) };
        let shift = |k: usize| {
            let forward = signed(k * shape.dilation) - signed(shape.padding);
            if is_transposed { -forward } else { forward }
        };
        // The first source index of a phase, if this position of the kernel takes part in it.
        let first = |phase: usize, k: usize| {
            let (at, step) = (signed(phase * src_step) + shift(k), signed(dst_step));
            (at.rem_euclid(step) == 0).then(|| at.div_euclid(step))
        };
        let (kernel_h, kernel_w) = shape.kernel;
        let taps: Vec<Vec<KernelTap>> = (0..dst_step)
            .flat_map(|py| (0..dst_step).map(move |px| (py, px)))
            .map(|(py, px)| {
                (0..kernel_h)
                    .flat_map(|ky| (0..kernel_w).map(move |kx| (ky, kx)))
                    .filter_map(|(ky, kx)| {
                        let (row, col) = (first(py, ky)?, first(px, kx)?);
                        Some(KernelTap { position: ky * kernel_w + kx, row, col })
                    })
                    .collect()
            })
            .collect();
        let cols = || taps.iter().flatten().map(|tap| tap.col);
        let last = (dst.1.div_ceil(dst_step).max(1) - 1) * src_step;
        let left = cols().min().unwrap_or(0).min(0).unsigned_abs();
        let right = (cols().max().unwrap_or(0) + signed(last) + 1 - signed(src.1)).max(0);
        let (group_in, group_out) = (shape.group_in(), shape.group_out());
        let found = Self {
            is_transposed,
            groups: shape.groups,
            group_src: if is_transposed { group_out } else { group_in },
            group_dst: if is_transposed { group_in } else { group_out },
            kernel_len: kernel_h * kernel_w,
            dst,
            src_step,
            dst_step,
            left,
            packed_width: left + src.1 + right.unsigned_abs(),
            taps,
        };
        found.check();
        found
    }

    /// Every place that a kernel reads is so many floats from another one that a distance fits.
    ///
    /// # Panics
    /// If a row of all channels has 2³¹ floats or more with those that its taps reach.
    fn check(&self) {
        let rows = self.taps.iter().flatten().map(|tap| tap.row.unsigned_abs()).max();
        let row = product([self.src_channels(), self.packed_width, LANES]);
        offset(signed(product([rows.unwrap_or(0) + 2, row])));
    }

    /// Source channels.
    pub(super) fn src_channels(&self) -> usize {
        self.groups * self.group_src
    }

    /// Destination channels.
    pub(super) fn dst_channels(&self) -> usize {
        self.groups * self.group_dst
    }

    /// Pixels of a packed source row of all channels.
    pub(super) fn packed_row(&self) -> usize {
        self.src_channels() * self.packed_width
    }

    /// Number of phases: `dst_step²`.
    pub(super) fn n_phases(&self) -> usize {
        self.taps.len()
    }

    /// Taps of the phase of rows `py` and columns `px`, in the order of the kernel.
    pub(super) fn taps(&self, phase: usize) -> &[KernelTap] {
        &self.taps[phase]
    }

    /// The taps of a destination pixel with stride 1, in the order of what they read, rows first: the convolution's are
    /// in that order, those of its transpose the other way round.
    pub(super) fn window(&self) -> impl Iterator<Item = &KernelTap> {
        let (taps, last) = (&self.taps[0], self.kernel_len - 1);
        (0..=last).map(move |i| &taps[if self.is_transposed { last - i } else { i }])
    }

    /// The source rows that a band of destination rows reads; some may lie outside of the source.
    pub(super) fn rows(&self, band: &Range<usize>) -> Range<isize> {
        let (mut first, mut end) = (isize::MAX, isize::MIN);
        for y in band.clone() {
            let (py, step) = (y % self.dst_step, self.src_row(y));
            for tap in self.taps[py * self.dst_step..][..self.dst_step].iter().flatten() {
                first = first.min(step + tap.row);
                end = end.max(step + tap.row + 1);
            }
        }
        if first < end { first..end } else { 0..0 }
    }

    /// What a tap's row is relative to, at destination row `y`.
    pub(super) fn src_row(&self, y: usize) -> isize {
        signed(y / self.dst_step * self.src_step)
    }

    /// A tap's place in packed rows, in pixels, relative to the place of row [`src_row`](Self::src_row), first
    /// channel and first source column.
    pub(super) fn place(&self, tap: &KernelTap, channel: usize) -> isize {
        (tap.row * signed(self.src_channels()) + signed(channel)) * signed(self.packed_width)
            + tap.col
    }

    /// The same in floats.
    pub(super) fn offset(&self, tap: &KernelTap, channel: usize) -> i32 {
        offset(self.place(tap, channel) * signed(LANES))
    }

    /// Destination columns of a phase.
    pub(super) fn phase_width(&self, px: usize) -> usize {
        self.dst.1.saturating_sub(px).div_ceil(self.dst_step)
    }

    /// Output and input channels of a group of the weight.
    fn group(&self) -> (usize, usize) {
        match self.is_transposed {
            true => (self.group_src, self.group_dst),
            false => (self.group_dst, self.group_src),
        }
    }

    /// Destination channel, source channel and position of the kernel that a weight is for.
    pub(super) fn channels(&self, index: usize) -> (usize, usize, usize) {
        let (pair, position) = (index / self.kernel_len, index % self.kernel_len);
        let (group_out, group_in) = self.group();
        let (out, inp) = (pair / group_in, pair % group_in);
        let inp = out / group_out * group_in + inp;
        if self.is_transposed { (inp, out, position) } else { (out, inp, position) }
    }

    /// Index of a weight, from the group and the channels within it.
    pub(super) fn weight(&self, group: usize, dst: usize, src: usize, position: usize) -> usize {
        let (out, inp) = if self.is_transposed { (src, dst) } else { (dst, src) };
        let (group_out, group_in) = self.group();
        ((group * group_out + out) * group_in + inp) * self.kernel_len + position
    }
}
