//! The taps of a kernel.

use super::Term;
use crate::value::Plane;
use taper_kernels::planes::Layout;

/// A weight of a kernel, and what it multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tap {
    /// Which weight of the kernel.
    pub(super) at: usize,
    /// Which phase of a channel.
    pub(super) phase: usize,
    /// Floats from the begin of the plane.
    pub(super) delta: i32,
    /// Columns to the right.
    pub(super) shift: i32,
}

impl Tap {
    /// The planes that it is multiplied with, channel by channel.
    pub(super) fn planes<'t>(&self, term: &'t Term<'_>) -> impl Iterator<Item = &'t Plane> {
        term.input.planes.iter().skip(self.phase).step_by(term.n_phases())
    }
}

impl Term<'_> {
    /// Planes of a channel.
    pub(super) fn n_phases(&self) -> usize {
        self.stride[0] * self.stride[1]
    }

    /// Weights of a kernel.
    pub(super) fn kernel(&self) -> usize {
        self.dims[2] * self.dims[3]
    }
}

/// The taps of each kernel of a term, without those that see padding alone. Columns lie where they are if rows are flat.
pub(super) fn of(term: &Term<'_>, to: &Layout, is_flat: bool) -> Vec<Tap> {
    // Without channels, a kernel may claim any size.
    if term.weight.is_empty() {
        return Vec::new();
    }
    let from = &term.input.layout;
    // The phase of what a row or column of the kernel multiplies first, and how far that lies from the plane's begin.
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
