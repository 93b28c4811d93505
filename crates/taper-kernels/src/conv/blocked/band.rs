//! A band of destination rows, from weights that are packed in any way.

use super::{
    gather::Gather,
    multiply::{self, Start},
    packed::Packed,
    weights::{DenseWeights, SparseWeights},
    winograd::{self, output::WinogradWeights},
};
use crate::{lanes::Lanes, simd::Simd};
use std::ops::Range;

/// Weights of one direction of a convolution, for every phase.
#[derive(Clone, Debug)]
pub(super) enum Weights {
    /// All of them.
    Dense(DenseWeights),
    /// Those that are not zero.
    Sparse(SparseWeights),
    /// All of them, as points.
    Winograd(WinogradWeights),
}

/// Computes the destination rows `band` of a block.
///
/// # Panics
/// If `dst` is not as long as the band.
///
/// # Safety
/// The instructions of `S` must be available, `packed` must hold the rows that `gather` names for this band, and `weights`
/// must have been packed for `gather`.
#[inline(always)]
pub(super) unsafe fn band<S: Simd>(
    gather: &Gather,
    weights: &Weights,
    packed: &Packed,
    band: Range<usize>,
    start: Start,
    buffers: winograd::Buffers,
    dst: &mut [Lanes],
) {
    assert_eq!(dst.len(), band.len() * gather.dst_channels() * gather.dst.1, "a band of rows");
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), gather.dst_channels(), "one bias a channel");
    }
    // SAFETY: passed on.
    unsafe {
        match weights {
            Weights::Dense(weights) => {
                multiply::dense::<S>(gather, weights, packed, band, start, dst)
            }
            Weights::Sparse(weights) => {
                multiply::sparse::<S>(gather, weights, packed, band, start, dst)
            }
            Weights::Winograd(weights) => {
                winograd::output::band::<S>(gather, weights, packed, band, start, buffers, dst);
            }
        }
    }
}
