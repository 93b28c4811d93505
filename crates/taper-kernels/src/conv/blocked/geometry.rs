//! Which pixels an output pixel reads: one form for the convolution and for its transpose.
//!
//! Both sum a weight times a source pixel over the positions of the kernel. With stride `s`, the rows and columns of
//! the input that are equal modulo `s` form a *phase*, a separate plane. Each position of the kernel then reads one
//! phase, at a fixed distance in rows and columns from the output pixel. The transpose reads the output's gradient and
//! writes the phases of the input's gradient.

use super::super::ConvShape;
use crate::{
    lanes::{LANES, pitch},
    planes::Tile,
    sizes::{product, signed},
};

/// A position of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct KernelTap {
    /// The phase of the input.
    pub(super) phase: usize,
    /// Rows and columns from an output pixel to the pixel of the phase that it reads.
    pub(super) row: isize,
    pub(super) col: isize,
}

/// Layout of rows in the memory that kernels read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Whether lanes are images. A pixel is then sixteen floats.
    pub(super) has_images_in_lanes: bool,
    /// Floats from one pixel to the next.
    pub(super) step: usize,
    /// Floats from one row to the next.
    pub(super) pitch: usize,
    /// Whether sums are shifted along rows. Otherwise pixels are read in place, and there are zeros between rows.
    pub(super) is_shifted: bool,
}

impl Grid {
    /// Images per plane.
    pub(super) fn images(&self) -> usize {
        if self.has_images_in_lanes { LANES } else { 1 }
    }
}

/// Sizes of a convolution, and what its kernel reads.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) shape: ConvShape,
    /// Rows and columns of the output.
    pub(super) out: (usize, usize),
    /// Positions of the kernel in the order of the weight; `None` for a position that reads only padding.
    pub(super) taps: Vec<Option<KernelTap>>,
    pub(super) grid: Grid,
}

impl Geometry {
    pub(super) fn new(shape: ConvShape) -> Self {
        let out = shape.out_hw();
        let s = shape.stride;
        // Each phase of each channel is a plane; a number of planes that wraps around is refused here.
        let _ = product([s, s, shape.channels_in.max(1)]);
        let along = |k: usize| {
            let at = signed(k * shape.dilation) - signed(shape.padding);
            (at.rem_euclid(signed(s)) as usize, at.div_euclid(signed(s)))
        };
        // Whether some output pixel reads a pixel at this distance.
        let reaches = |n_out: usize, n_in: usize, phase: usize, distance: isize| {
            let n_in = signed(n_in.saturating_sub(phase).div_ceil(s));
            distance < n_in && distance > -signed(n_out)
        };
        let taps = (0..shape.kernel.0)
            .flat_map(|ky| (0..shape.kernel.1).map(move |kx| (ky, kx)))
            .map(|(ky, kx)| {
                let ((py, row), (px, col)) = (along(ky), along(kx));
                let sees =
                    reaches(out.0, shape.height, py, row) && reaches(out.1, shape.width, px, col);
                sees.then_some(KernelTap { phase: py * s + px, row, col })
            })
            .collect::<Vec<_>>();
        let reach = taps.iter().flatten().map(|tap| tap.col.unsigned_abs()).max().unwrap_or(0);
        let is_small = |rows: usize, columns: usize| product([rows, columns]) <= LANES;
        let has_images_in_lanes = is_small(out.0, out.1) || is_small(shape.height, shape.width);
        let columns = out.1.max(shape.width.div_ceil(s)).max(1);
        let grid = if has_images_in_lanes {
            let (step, is_shifted) = (LANES, false);
            Grid { has_images_in_lanes, step, pitch: (columns + reach) * LANES, is_shifted }
        } else {
            let natural = pitch(columns);
            // The row lengths that the tiles of every machine can shift.
            let is_shifted = reach > 0 && (natural < LANES || matches!(natural / LANES, 1..=3));
            let pitch = match reach == 0 || is_shifted {
                true => natural,
                false => (columns + reach).next_multiple_of(LANES),
            };
            Grid { has_images_in_lanes, step: 1, pitch, is_shifted }
        };
        Self { shape, out, taps, grid }
    }

    /// Number of phases of the input.
    pub(super) fn n_phases(&self) -> usize {
        self.shape.stride * self.shape.stride
    }

    /// Rows and columns of a phase of the input.
    pub(super) fn phase(&self, phase: usize) -> (usize, usize) {
        let s = self.shape.stride;
        let along = |n: usize, first: usize| n.saturating_sub(first).div_ceil(s);
        (along(self.shape.height, phase / s), along(self.shape.width, phase % s))
    }

    /// Whether each output pixel reads only the same pixel of the input. Rows then lie in memory as they are stored.
    pub(super) fn is_pointwise(&self) -> bool {
        let ConvShape { kernel, stride, padding, .. } = self.shape;
        kernel == (1, 1) && stride == 1 && padding == 0
    }

    /// The output channel, input channel and position of the kernel of a weight.
    pub(super) fn channels(&self, index: usize) -> (usize, usize, usize) {
        let (group_in, group_out) = (self.shape.group_in(), self.shape.group_out());
        let kernel_len = self.taps.len();
        let (pair, position) = (index / kernel_len, index % kernel_len);
        let (out, inp) = (pair / group_in, pair % group_in);
        (out, out / group_out * group_in + inp, position)
    }

    /// The maximum rows above, rows below and columns that a tap reaches; `is_transposed` for the transpose.
    fn reach(&self, is_transposed: bool) -> [usize; 3] {
        let sign = if is_transposed { -1 } else { 1 };
        let taps = || self.taps.iter().flatten();
        let most =
            |of: &dyn Fn(&KernelTap) -> isize| taps().map(of).max().unwrap_or(0).max(0) as usize;
        [most(&|tap| -sign * tap.row), most(&|tap| sign * tap.row), most(&|tap| tap.col.abs())]
    }

    /// The maximum shifts of sums to the right and to the left.
    pub(super) fn shifts(&self, is_transposed: bool) -> [usize; 2] {
        let sign = if is_transposed { -1 } else { 1 };
        let most = |sign: isize| {
            let cols = self.taps.iter().flatten().map(|tap| sign * tap.col);
            cols.max().unwrap_or(0).max(0) as usize
        };
        if self.grid.is_shifted { [most(-sign), most(sign)] } else { [0, 0] }
    }

    /// Rows of a plane of the output, or of the input: those of its first phase, which has the most.
    fn rows(&self, is_input: bool) -> usize {
        if is_input { self.phase(0).0 } else { self.out.0 }
    }

    /// Places of planes that are read: of the input's phases, or of the output's gradient.
    pub(super) fn sources(&self, is_transposed: bool) -> Slots {
        let [above, below, cols] = self.reach(is_transposed);
        let Grid { pitch, step, .. } = self.grid;
        let (rows, results) = (self.rows(!is_transposed), self.rows(is_transposed));
        let body = |rows: usize| product([rows, pitch]).next_multiple_of(LANES);
        // A kernel reads the rows that it writes, and the rows above and below that taps reach.
        let above = (above * pitch + cols * step).next_multiple_of(LANES);
        let read = body(results) + (below * pitch + cols * step).next_multiple_of(LANES);
        Slots { above, body: body(rows), len: above + body(rows).max(read) }
    }

    /// Places of planes that are written: of the output, or of the phases of the input's gradient.
    pub(super) fn results(&self, is_transposed: bool) -> Slots {
        let body = product([self.rows(is_transposed), self.grid.pitch]).next_multiple_of(LANES);
        Slots { above: 0, body, len: body }
    }
}

/// Whether sums can be shifted along rows of `pitch` floats with vectors of `lanes` floats.
pub(super) fn shifts_rows(pitch: usize, lanes: usize) -> bool {
    pitch < lanes || Tile::shifts_rows(lanes, pitch / lanes)
}

/// Places of planes of equal size, one after another, in floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// Zeros before a plane.
    pub(super) above: usize,
    /// Floats of a plane, whole vectors.
    pub(super) body: usize,
    /// Floats from one plane to the next. The floats after a plane are zero.
    pub(super) len: usize,
}
