//! Matrix products with sixteen partial sums in the SIMD lanes, for operands that are contiguous along the inner
//! dimension.

use super::matrix::Matrix;
use crate::{
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd, add_sums},
};

/// Computes the product, or adds it to the output. Rows of `a` and columns of `b` are contiguous.
pub(super) struct DotProducts<'a> {
    pub(super) a: Matrix<'a>,
    pub(super) b: Matrix<'a>,
    /// `a.rows × b.cols`, row-major.
    pub(super) out: &'a mut [f32],
    pub(super) accumulate: bool,
}

impl Kernel for DotProducts<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let mut row = 0;
        while row < self.a.rows {
            // SAFETY: the caller guarantees the instruction set; the rows exist.
            row += unsafe {
                match self.a.rows - row {
                    4.. if S::ACCUMULATORS >= 24 => self.rows::<S, 4>(row),
                    2.. => self.rows::<S, 2>(row),
                    _ => self.rows::<S, 1>(row),
                }
            };
        }
    }
}

impl DotProducts<'_> {
    /// Computes `R` rows of the output; returns `R`.
    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(&mut self, row: usize) -> usize {
        let mut col = 0;
        while col < self.b.cols {
            // SAFETY: guaranteed by the caller; the columns exist.
            col += unsafe {
                match self.b.cols - col {
                    4.. => self.tile::<S, R, 4>(row, col),
                    2.. => self.tile::<S, R, 2>(row, col),
                    _ => self.tile::<S, R, 1>(row, col),
                }
            };
        }
        R
    }

    /// Computes `R × C` outputs; returns `C`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize>(
        &mut self,
        row: usize,
        col: usize,
    ) -> usize {
        let (n, terms) = (self.b.cols, self.a.cols);
        let a: [&[f32]; R] =
            std::array::from_fn(|r| &self.a.data[(row + r) * self.a.row_step..][..terms]);
        let b: [&[f32]; C] =
            std::array::from_fn(|c| &self.b.data[(col + c) * self.b.col_step..][..terms]);
        let out = &mut self.out[row * n + col..];
        // SAFETY: the caller guarantees the instruction set.
        unsafe { add_sums::<S, C>(&S::call(DotTile { a, b, terms }), out, n, !self.accumulate) };
        C
    }
}

/// Products of `R` rows and `C` columns of `terms` values each, lane by lane.
struct DotTile<'a, const R: usize, const C: usize> {
    a: [&'a [f32]; R],
    b: [&'a [f32]; C],
    terms: usize,
}

impl<const R: usize, const C: usize> Kernel for DotTile<'_, R, C> {
    type Out = [[Lanes; C]; R];

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [[Lanes; C]; R] {
        let whole = self.terms / LANES * LANES;
        // The rest is filled up with zeros; their products change no sum.
        let rest = |from: &[f32]| {
            let mut lanes = [0.0; LANES];
            lanes[..from.len() - whole].copy_from_slice(&from[whole..]);
            lanes
        };
        let (a, b) = (self.a.map(<[f32]>::as_ptr), self.b.map(<[f32]>::as_ptr));
        let (a_lanes, b_lanes) = (self.a.map(rest), self.b.map(rest));
        let a_rest = a_lanes.each_ref().map(|lanes| lanes.as_ptr());
        let b_rest = b_lanes.each_ref().map(|lanes| lanes.as_ptr());
        let mut totals = [[Lanes::ZERO; C]; R];
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: the caller guarantees the instruction set; all rows and columns have `terms` values.
            unsafe {
                let mut sums = [[S::splat(0.0); C]; R];
                for at in (part..whole).step_by(LANES) {
                    step::<S, R, C>(&mut sums, a, b, at);
                }
                step::<S, R, C>(&mut sums, a_rest, b_rest, part);
                for (totals, sums) in totals.iter_mut().zip(sums) {
                    for (total, sum) in totals.iter_mut().zip(sums) {
                        S::store(total.0.as_mut_ptr().add(part), sum);
                    }
                }
            }
        }
        totals
    }
}

/// Adds the products of one vector of each row and column, from `at` on.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const C: usize>(
    sums: &mut [[S::V; C]; R],
    a: [*const f32; R],
    b: [*const f32; C],
    at: usize,
) {
    // SAFETY: the caller provides a vector at each place.
    unsafe {
        let mut left = [S::splat(0.0); R];
        for (left, a) in left.iter_mut().zip(a) {
            *left = S::load(a.add(at));
        }
        for (c, b) in b.into_iter().enumerate() {
            let right = S::load(b.add(at));
            for (sums, left) in sums.iter_mut().zip(left) {
                sums[c] = S::fma(left, right, sums[c]);
            }
        }
    }
}
