//! Products of matrices for what is computed image by image.
//!
//! Each output is a sum in an order that the sizes alone decide, so that its bits depend on neither the instruction set,
//! nor the sizes of caches, nor the number of threads. Two ways cover the shapes: [`columns`] keeps neighbouring outputs
//! in the lanes of a vector, [`dots`] sixteen parts of one sum.

mod columns;
mod dots;
mod matrix;

use crate::{
    simd::{Variant, launch},
    sizes::product,
};
use columns::ColumnProducts;
use dots::DotProducts;
pub(crate) use matrix::Matrix;
use rayon::prelude::*;

/// Multiply-adds that a task should have.
const TASK: usize = 1 << 20;

/// `out = a·b`, or `out += a·b`.
///
/// Where terms lie side by side in `a` and in `b`, sums of at least 512 of them, or of 64 where `a` has fewer than sixteen
/// rows, are taken in sixteen parts, which are added in halves. All others are one chain of fused multiply-adds in the
/// order of the inner dimension.
///
/// # Panics
/// If the sizes do not fit.
pub(crate) fn matmul(
    variant: Variant,
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: &mut [f32],
    accumulate: bool,
) {
    assert_eq!(a.cols, b.rows, "inner dimensions");
    assert_eq!(out.len(), product([a.rows, b.cols]), "output of {}x{}", a.rows, b.cols);
    if out.is_empty() {
        return;
    }
    if a.cols == 0 {
        if !accumulate {
            out.fill(0.0);
        }
        return;
    }
    // Packing the columns takes less time than that only where many rows use them.
    let least_terms = if a.rows < 16 { 64 } else { 512 };
    let is_spread = a.col_step == 1 && b.row_step == 1 && a.cols >= least_terms;
    // Columns are packed once a task, which few rows do not pay for.
    let least = if is_spread { 16 } else { 64 };
    let rows = (TASK / a.cols / b.cols).max(1).next_multiple_of(least);
    out.par_chunks_mut(rows * b.cols).enumerate().for_each(|(i, out)| {
        let a = a.rows_from(i * rows, rows);
        if is_spread {
            launch(variant, DotProducts { a, b, out, accumulate });
        } else {
            launch(variant, ColumnProducts { a, b, out, accumulate });
        }
    });
}

#[cfg(test)]
mod tests;
