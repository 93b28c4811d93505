//! The taps of a kernel.

use super::Term;
use crate::value::Plane;
use taper_kernels::planes::Layout;

/// A tap: a weight of a kernel, and the position of the pixels that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tap {
    /// Index of the weight in the kernel.
    pub(super) at: usize,
    /// Index of the phase of a channel.
    pub(super) phase: usize,
    /// Offset of the rows that it reads, in floats from the start of the plane.
    pub(super) delta: i32,
    /// Offset in columns to the right.
    pub(super) shift: i32,
}

impl Tap {
    /// The planes that it multiplies, channel by channel.
    pub(super) fn planes<'t>(&self, term: &'t Term<'_>) -> impl Iterator<Item = &'t Plane> {
        term.input.planes.iter().skip(self.phase).step_by(term.n_phases())
    }
}

impl Term<'_> {
    /// Number of phases: planes per channel.
    pub(super) fn n_phases(&self) -> usize {
        self.stride[0] * self.stride[1]
    }

    /// Number of weights of a kernel.
    pub(super) fn kernel(&self) -> usize {
        self.dims[2] * self.dims[3]
    }
}

/// The taps of each kernel of a term, without taps that only read padding. If rows are flat, `delta` includes the
/// shift.
pub(super) fn of(term: &Term<'_>, to: &Layout, is_flat: bool) -> Vec<Tap> {
    // An empty weight can claim any kernel size.
    if term.weight.is_empty() {
        return Vec::new();
    }
    let from = &term.input.layout;
    // For a row or column of the kernel: the phase that it reads, and the offset of its first pixel in that phase.
    let place = |axis: usize, i: usize| {
        let at = (i * term.dilation[axis]) as i64 - term.padding[axis] as i64;
        let stride = term.stride[axis] as i64;
        (at.rem_euclid(stride) as usize, at.div_euclid(stride))
    };
    let sees_pixels =
        |first: i64, from: usize, to: usize| first < from as i64 && first + to as i64 > 0;
    let (mut taps, [_, _, rows, columns]) = (Vec::new(), term.dims);
    for ky in 0..rows {
        let (row_phase, down) = place(0, ky);
        if !sees_pixels(down, from.rows, to.rows) {
            continue;
        }
        for kx in 0..columns {
            let (column_phase, right) = place(1, kx);
            if !sees_pixels(right, from.columns, to.columns) {
                continue;
            }
            let shift = right as i32;
            taps.push(Tap {
                at: ky * columns + kx,
                phase: row_phase * term.stride[1] + column_phase,
                delta: down as i32 * to.pitch as i32 + if is_flat { shift } else { 0 },
                shift,
            });
        }
    }
    taps
}
