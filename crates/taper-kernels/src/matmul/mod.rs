//! Matrix products of the convolutions that are computed image by image.
//!
//! The sizes alone decide the order of each sum. Results are therefore bit-identical for any instruction set, cache
//! size and number of threads. There are two methods: [`columns`] has neighbouring outputs in the SIMD lanes, [`dots`]
//! has sixteen partial sums of one output.

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

/// Multiply-adds per task.
const TASK: usize = 1 << 20;

/// `out = a·b`, or `out += a·b`.
///
/// If both operands are contiguous along the inner dimension, sums of at least 512 terms are taken in sixteen parts,
/// which are added in halves. If `a` has fewer than sixteen rows, 64 terms are enough. All other sums are one chain of
/// fused multiply-adds in the order of the inner dimension.
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
    // Packing the columns pays only if many rows use them. With few rows, sums in parts are faster even for fewer
    // terms.
    let least_terms = if a.rows < 16 { 64 } else { 512 };
    let is_spread = a.col_step == 1 && b.row_step == 1 && a.cols >= least_terms;
    // Each task packs the columns once, which pays only with many rows.
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
