//! Convolution of activations in vectors, with dense or sparse weights.
//!
//! An image is packed into the memory of a thread, which fits into the caches. Packing applies the batch norm before
//! the convolution, and puts zeros around each channel. The kernels read the packed image. The statistics of the
//! output's channels are computed while the output is in the cache.
//!
//! Results are bit-identical for any instruction set and number of threads, and for dense and sparse packing where
//! values are finite: the shape alone decides the order of sums, and zeros are positive. Winograd's filtering computes
//! other bits, which are also independent of all these.
//!
//! ```
//! use taper_kernels::conv::{ConvShape, blocked::{BlockedConv, Packing}};
//! use taper_kernels::fused::Source;
//! use taper_kernels::lanes::{Lanes, from_nchw, to_nchw};
//!
//! let shape = ConvShape { height: 4, width: 4, kernel: (3, 3), padding: 1, ..ConvShape::linear(2, 1, 1) };
//! let conv = BlockedConv::new(shape);
//! let weight = [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]; // doubles each pixel
//! let images: Vec<f32> = (0..32).map(|i| i as f32).collect();
//! let mut input = vec![Lanes::ZERO; conv.input().len()];
//! from_nchw(conv.input(), &images, &mut input);
//!
//! let mut out = vec![Lanes::ZERO; conv.output().len()];
//! let weights = conv.pack(&weight, None, Packing::Sparse);
//! conv.forward(&weights, Source::Plain(input[..].into()), None, &mut out);
//! let mut doubled = vec![0.0; 32];
//! to_nchw(conv.output(), &out, &mut doubled);
//! assert_eq!(doubled[5], 10.0);
//! ```

mod arena;
mod finish;
mod geometry;
mod grads;
mod layout;
mod product;
mod tasks;
mod weight_grad;
mod weights;
mod whole_grad;
mod winograd;

pub use grads::{
    BackwardSums, Finish, GradAt, GradPart, InputGrad, WeightGrad, WeightRest, WeightRoot,
    WeightSums,
};
pub use layout::{BlockedConv, PackedWeights, Packing};

use crate::{
    buffer::Buffer,
    fused::{GradSource, Moments, Source},
    lanes::{LANES, Lanes, Plane},
    simd::Variant,
    tree::{self, BatchShare, Roots},
};
use finish::Finishing;
use rayon::prelude::*;
use std::ops::Range;
use tasks::{Backward, BlockSums, Forward, ToInput, Wanted};
use weight_grad::Positions;

impl BlockedConv {
    /// Computes the output from the input.
    ///
    /// # Panics
    /// If a length does not fit the shape, or the weights were packed for another convolution or direction.
    pub fn forward(
        &self,
        weights: &PackedWeights,
        source: Source,
        bias: Option<&[f32]>,
        out: &mut [Lanes],
    ) {
        self.run_forward(weights, source, bias, out, false);
    }

    /// Computes the output from the input, and the moments of each output channel over a rank's part of a batch.
    /// There are no moments if there are no pixels.
    ///
    /// # Panics
    /// If a length does not fit the shape, or the weights were packed for another convolution or direction.
    pub fn forward_with_moments(
        &self,
        weights: &PackedWeights,
        source: Source,
        bias: Option<&[f32]>,
        out: &mut [Lanes],
        share: BatchShare,
    ) -> Roots<Vec<Moments>> {
        let found = self.run_forward(weights, source, bias, out, true);
        Roots::of(share, self.output.batch, self.part(), found)
    }

    /// Returns the moments of each part of the output, if `wants_moments`.
    fn run_forward(
        &self,
        weights: &PackedWeights,
        source: Source,
        bias: Option<&[f32]>,
        out: &mut [Lanes],
        wants_moments: bool,
    ) -> Vec<Vec<Moments>> {
        self.expect(weights, false);
        source.check(&self.input);
        assert_eq!(out.len(), self.output.len(), "output of {:?}", self.shape);
        if let Some(bias) = bias {
            assert_eq!(bias.len(), self.output.channels, "bias of {:?}", self.shape);
        }
        if out.is_empty() {
            return Vec::new();
        }
        let variant = Variant::current();
        let part = self.part() / self.output.together() * self.output.unit();
        out.par_chunks_mut(part)
            .enumerate()
            .map(|(part, out)| {
                let task = Forward { conv: self, weights, source, bias, part, out, wants_moments };
                task.run(variant)
            })
            .collect()
    }

    /// Computes the gradients of input and weight from the gradient of the output. Those of the weight are sums over a
    /// share of a batch.
    ///
    /// The input is read only for the gradient of the weight.
    ///
    /// # Panics
    /// If a length does not fit the shape, or the weights were packed for another convolution or direction.
    pub fn backward(
        &self,
        source: Source,
        grad: GradSource,
        mut to_input: Option<InputGrad>,
        to_weight: Option<WeightGrad>,
        share: BatchShare,
    ) -> BackwardSums {
        if to_weight.is_some() {
            source.check(&self.input);
        }
        grad.check(&self.output);
        let n_weights = self.shape.n_weights();
        let mut pieces: Vec<Vec<GradPart>> = (0..self.input.blocks()).map(|_| Vec::new()).collect();
        let mut transposed = None;
        if let Some(to) = &mut to_input {
            self.expect(to.weights, true);
            let channels: usize = to.parts.iter().map(|part| part.channels).sum();
            assert_eq!(channels, self.input.channels, "gradient of the input of {:?}", self.shape);
            if let Some(finish) = &to.finish {
                finish.check(&self.input);
            }
            let finish = to.finish.as_ref().map(|&Finish { pass, x, mean, scale, .. }| Finishing {
                pass,
                x,
                mean,
                scale,
            });
            transposed = Some((to.weights, finish));
            for &mut GradPart { channels, ref mut out, is_added } in &mut to.parts {
                let plane = Plane { channels, ..self.input };
                assert_eq!(out.len(), plane.len(), "gradient of the input of {:?}", self.shape);
                if plane.block() > 0 {
                    let chunks = out.chunks_mut(plane.block());
                    for (piece, out) in pieces.iter_mut().zip(chunks) {
                        piece.push(GradPart { channels, out, is_added });
                    }
                }
            }
        }
        let exact = to_weight.as_ref().and_then(|to| match to.at {
            GradAt::All => None,
            GradAt::Masked(exact) | GradAt::Sampled { exact, .. } => Some(exact),
        });
        let positions = exact.map(|exact| {
            assert_eq!(exact.len(), n_weights, "mask of {:?}", self.shape);
            Positions::new(&self.geometry, &self.reads, exact)
        });
        let wanted = to_weight.as_ref().map(|to| to.at);
        if let Some(GradAt::Sampled { blocks, .. }) = wanted {
            assert_eq!(blocks.len(), self.input.blocks(), "one flag per block");
        }
        let has_bias = to_weight.as_ref().is_some_and(|to| to.has_bias);
        let variant = Variant::current();
        let mut sums: Vec<BlockSums> = pieces
            .into_par_iter()
            .enumerate()
            .map(|(block, parts)| {
                let weights = match wanted {
                    None => Wanted::Nothing,
                    Some(GradAt::All) => Wanted::All,
                    Some(GradAt::Sampled { blocks, .. }) if blocks[block] => Wanted::All,
                    Some(_) => positions.as_ref().map_or(Wanted::Nothing, Wanted::At),
                };
                let to_input = transposed.filter(|_| !parts.is_empty());
                let to_input = to_input.map(|(weights, finish)| ToInput { weights, finish, parts });
                let task =
                    Backward { conv: self, source, grad, block, to_input, weights, has_bias };
                task.run(variant)
            })
            .collect();
        let of_batch = |parts| Roots::of(share, self.input.batch, LANES, parts);
        let finish = match to_input.is_some_and(|to| to.finish.is_some()) && !self.input.is_empty()
        {
            true => {
                of_batch(sums.iter_mut().map(|sums| std::mem::take(&mut sums.finish)).collect())
            }
            false => Roots::none(LANES),
        };
        let weight = to_weight.map(|to| {
            let subtrees = share.subtrees(self.input.batch, LANES);
            let roots = subtrees.into_iter().map(|(height, blocks)| {
                (height, self.weight_root(&to, &sums[blocks.clone()], blocks))
            });
            let scale = match to.at {
                GradAt::Sampled { scale, .. } => Some(scale),
                GradAt::All | GradAt::Masked(_) => None,
            };
            WeightSums {
                has_whole: !matches!(to.at, GradAt::Masked(_)),
                roots: roots.collect(),
                rest: WeightRest {
                    n_weights,
                    indices: positions.map_or_else(Vec::new, |positions| positions.indices),
                    scale,
                },
            }
        });
        BackwardSums { finish, weight }
    }

    /// The sums over some blocks.
    fn weight_root(&self, to: &WeightGrad, sums: &[BlockSums], blocks: Range<usize>) -> WeightRoot {
        let has_whole = match to.at {
            GradAt::All => true,
            GradAt::Masked(_) => false,
            GradAt::Sampled { blocks: sampled, .. } => sampled[blocks].contains(&true),
        };
        let n_at = sums.iter().map(|sums| sums.at.len()).max().unwrap_or(0);
        let mut at = vec![0.0; n_at];
        add_up(&mut at, sums, |sums| &sums.at);
        let mut all = vec![0.0; if has_whole { self.shape.n_weights() } else { 0 }];
        if has_whole && (self.is_winograd || self.is_mixing) {
            add_up(&mut all, sums, |sums| &sums.all);
        } else if has_whole {
            let mut sums_in_order = Buffer::any(self.n_sums());
            add_up(&mut sums_in_order, sums, |sums| &sums.all);
            self.reads.in_order(&sums_in_order, self.shape.taps(), &mut all);
        }
        let mut bias = vec![0.0; if to.has_bias { self.output.channels } else { 0 }];
        add_up(&mut bias, sums, |sums| &sums.bias);
        WeightRoot { all, at, bias }
    }
}

/// Sums that a task adds up at a time: they stay in its cache.
const ADDED: usize = 1 << 11;

/// Overwrites `totals` with the sums over the blocks; a block may have none.
fn add_up(totals: &mut [f32], blocks: &[BlockSums], of: impl Fn(&BlockSums) -> &[f32] + Sync) {
    totals.par_chunks_mut(ADDED).enumerate().for_each(|(i, totals)| {
        let parts = blocks.iter().map(|block| of(block).get(i * ADDED..).unwrap_or_default());
        let n = totals.len();
        tree::add_up(totals, parts.map(|part| &part[..part.len().min(n)]));
    });
}

#[cfg(test)]
mod tests;
