//! Matrix products with neighbouring columns of the output in the SIMD lanes: each output is one chain of
//! multiply-adds.

use super::matrix::Matrix;
use crate::simd::{Kernel, Simd};

/// Computes the product, or adds it to the output.
pub(super) struct ColumnProducts<'a> {
    pub(super) a: Matrix<'a>,
    pub(super) b: Matrix<'a>,
    /// `a.rows × b.cols`, row-major.
    pub(super) out: &'a mut [f32],
    pub(super) accumulate: bool,
}

/// Floats of a packed panel: it fits into the first-level cache beside the other data. Chains continue in the output
/// from one panel to the next, so its size changes no bit.
const PANEL: usize = 1 << 13;
/// Rows of the largest tile. If there are not more rows, they read the panel only once, and it need not be packed.
const TILE: usize = 6;
/// Rows of the panel that are read in place at a time.
const STREAMS: usize = 8;

impl Kernel for ColumnProducts<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let mut packed = Vec::new();
        let mut first = 0;
        while first < self.b.cols {
            let left = self.b.cols - first;
            // SAFETY: guaranteed by the caller; the panel begins within the columns.
            first += unsafe {
                if S::ACCUMULATORS >= 24 && left > 2 * S::WIDTH {
                    self.panel::<S, 4>(first, &mut packed)
                } else if left > S::WIDTH {
                    self.panel::<S, 2>(first, &mut packed)
                } else {
                    self.panel::<S, 1>(first, &mut packed)
                }
            };
        }
    }
}

impl ColumnProducts<'_> {
    /// Computes the columns of `P` vectors from `first` on; returns their number.
    #[inline(always)]
    unsafe fn panel<S: Simd, const P: usize>(
        &mut self,
        first: usize,
        packed: &mut Vec<f32>,
    ) -> usize {
        let width = P * S::WIDTH;
        let (cols, n) = (width.min(self.b.cols - first), self.b.cols);
        let is_read_in_place = self.b.col_step == 1 && cols == width && self.a.rows <= TILE;
        let depth = if is_read_in_place { STREAMS } else { PANEL / width };
        let mut spare = [0.0; TILE * 4 * 16];
        for start in (0..self.a.cols).step_by(depth) {
            let depth = depth.min(self.a.cols - start);
            let (b, b_step) = if is_read_in_place {
                (&self.b.data[start * self.b.row_step + first..], self.b.row_step)
            } else {
                pack(&self.b, start..start + depth, first..first + cols, width, packed);
                (&packed[..], width)
            };
            let continues = self.accumulate || start > 0;
            let mut row = 0;
            while row < self.a.rows {
                let rows = match self.a.rows - row {
                    6.. => 6,
                    4.. => 4,
                    2.. => 2,
                    _ => 1,
                };
                let out = &mut self.out[row * n + first..];
                let a = &self.a.data[row * self.a.row_step + start * self.a.col_step..];
                let (a_row, a_col) = (self.a.row_step, self.a.col_step);
                // A panel that reaches past the last column is computed in `spare`.
                let is_whole = cols == width;
                if !is_whole && continues {
                    for (out, spare) in out.chunks(n).zip(spare.chunks_mut(width)).take(rows) {
                        spare[..cols].copy_from_slice(&out[..cols]);
                    }
                }
                let (to, out_step) =
                    if is_whole { (&mut *out, n) } else { (&mut spare[..], width) };
                assert!(to.len() >= (rows - 1) * out_step + width, "room for a tile");
                assert!(b.len() >= (depth - 1) * b_step + width, "a panel");
                assert!(a.len() > (rows - 1) * a_row + (depth - 1) * a_col, "rows of a tile");
                let (a, b, to) = (a.as_ptr(), b.as_ptr(), to.as_mut_ptr());
                // SAFETY: the caller guarantees the instruction set; the lengths were asserted.
                unsafe {
                    macro_rules! tile {
                        ($rows:literal) => {
                            S::call(ColumnTile::<$rows, P> {
                                a,
                                a_row,
                                a_col,
                                b,
                                b_step,
                                depth,
                                out: to,
                                out_step,
                                continues,
                            })
                        };
                    }
                    match rows {
                        6 => tile!(6),
                        4 => tile!(4),
                        2 => tile!(2),
                        _ => tile!(1),
                    }
                }
                if !is_whole {
                    for (out, spare) in out.chunks_mut(n).zip(spare.chunks(width)).take(rows) {
                        out[..cols].copy_from_slice(&spare[..cols]);
                    }
                }
                row += rows;
            }
        }
        cols
    }
}

/// Copies a part of a matrix to rows of `width` floats, with zeros after the columns.
fn pack(
    b: &Matrix,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    width: usize,
    to: &mut Vec<f32>,
) {
    to.clear();
    to.resize(rows.len() * width, 0.0);
    if b.col_step == 1 {
        for (to, row) in to.chunks_exact_mut(width).zip(rows) {
            let from = row * b.row_step;
            to[..cols.len()].copy_from_slice(&b.data[from + cols.start..from + cols.end]);
        }
    } else {
        for (i, col) in cols.enumerate() {
            for (to, row) in to[i..].iter_mut().step_by(width).zip(rows.clone()) {
                *to = b.at(row, col);
            }
        }
    }
}

/// `R` rows of `P` vectors.
///
/// `a` has `depth` values for each row of the tile. `b` has one row of vectors for each of these values. `out` has the
/// rows of the tile.
struct ColumnTile<const R: usize, const P: usize> {
    a: *const f32,
    a_row: usize,
    a_col: usize,
    b: *const f32,
    b_step: usize,
    depth: usize,
    out: *mut f32,
    out_step: usize,
    /// Whether the chains continue from the values in `out`.
    continues: bool,
}

impl<const R: usize, const P: usize> Kernel for ColumnTile<R, P> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller provides places of the lengths above.
        unsafe {
            let mut sums = [[S::splat(0.0); P]; R];
            if self.continues {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (p, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(self.out.add(r * self.out_step + p * S::WIDTH));
                    }
                }
            }
            let mut b = self.b;
            let mut a: [*const f32; R] =
                std::array::from_fn(|r| self.a.wrapping_add(r * self.a_row));
            for _ in 0..self.depth {
                let mut right = [S::splat(0.0); P];
                for (p, right) in right.iter_mut().enumerate() {
                    *right = S::load(b.add(p * S::WIDTH));
                }
                for (a, sums) in a.iter_mut().zip(&mut sums) {
                    let left = S::splat(**a);
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = S::fma(right, left, *sum);
                    }
                    *a = a.wrapping_add(self.a_col);
                }
                b = b.wrapping_add(self.b_step);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (p, sum) in sums.iter().enumerate() {
                    S::store(self.out.add(r * self.out_step + p * S::WIDTH), *sum);
                }
            }
        }
    }
}
