//! Convolution of activations in vectors, with dense or sparse weights.
//!
//! An image is packed into memory of a thread, which its caches hold, with zeros around each channel and with the
//! normalisation before it applied; it is multiplied from there; and what is known of the result only while it is in the
//! cache, the statistics of its channels, is taken along.
//!
//! The bits of a result depend on neither the instruction set, nor the number of threads, nor (where values are
//! finite) on whether weights are packed dense or sparse: sums are taken in an order that
//! the shape alone decides, and a zero is positive. Winograd's filtering has other bits, which depend on none of these either.
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

pub use grads::{Finish, GradAt, GradPart, InputGrad, WeightGrad};
pub use layout::{BlockedConv, PackedWeights, Packing};

use crate::{
    buffer::Buffer,
    fused::{GradSource, GradSums, Moments, Source},
    lanes::{Lanes, Plane},
    simd::Variant,
    tree,
};
use finish::Finishing;
use rayon::prelude::*;
use tasks::{Backward, BlockSums, Forward, ToInput, Wanted};
use weight_grad::Positions;

impl BlockedConv {
    /// Computes the output from the input.
    ///
    /// # Panics
    /// If a length does not fit the shape, or the weights were packed for something else.
    pub fn forward(
        &self,
        weights: &PackedWeights,
        source: Source,
        bias: Option<&[f32]>,
        out: &mut [Lanes],
    ) {
        self.run_forward(weights, source, bias, out, false);
    }

    /// Computes the output from the input, and the moments of each output channel over the batch.
    ///
    /// # Panics
    /// If a length does not fit the shape, or the weights were packed for something else.
    pub fn forward_with_moments(
        &self,
        weights: &PackedWeights,
        source: Source,
        bias: Option<&[f32]>,
        out: &mut [Lanes],
    ) -> Vec<Moments> {
        let found = self.run_forward(weights, source, bias, out, true);
        Moments::merge_all(self.output.channels, found)
    }

    /// Gives the moments of each band, if they are wanted.
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

    /// Computes the gradients of input and weight from that of the output.
    ///
    /// The weight's gradient is summed band by band, block by block, in order. The input is read for that one alone.
    ///
    /// # Panics
    /// If a length does not fit the shape, or the weights were packed for something else.
    pub fn backward(
        &self,
        source: Source,
        grad: GradSource,
        mut to_input: Option<InputGrad>,
        mut to_weight: Option<WeightGrad>,
    ) {
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
            assert_eq!(blocks.len(), self.input.blocks(), "one flag a block");
        }
        let has_bias = to_weight.as_ref().is_some_and(|to| to.bias.is_some());
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
        if let Some(finish) = to_input.and_then(|to| to.finish) {
            let parts = sums.iter_mut().map(|sums| std::mem::take(&mut sums.finish));
            finish.sums.copy_from_slice(&GradSums::add_all(self.input.channels, parts));
        }
        let Some(to) = &mut to_weight else { return };
        assert_eq!(to.out.len(), n_weights, "gradient of the weight of {:?}", self.shape);
        let mut at_positions = vec![0.0; positions.as_ref().map_or(0, Positions::len)];
        add_up(&mut at_positions, &sums, |sums| &sums.at);
        if !matches!(to.at, GradAt::Masked(_)) {
            if self.is_winograd || self.is_mixing {
                add_up(to.out, &sums, |sums| &sums.all);
            } else {
                let mut sums_in_order = Buffer::any(self.n_sums());
                add_up(&mut sums_in_order, &sums, |sums| &sums.all);
                self.reads.in_order(&sums_in_order, self.shape.taps(), to.out);
            }
        } else {
            to.out.fill(0.0);
        }
        match to.at {
            GradAt::All => {}
            // No block was summed whole, so each sum is that of its positions.
            GradAt::Masked(_) => scatter(positions.as_ref(), &at_positions, to.out),
            GradAt::Sampled { exact, scale, .. } => {
                for (index, sum) in to.out.iter_mut().enumerate() {
                    if !exact.is_kept(index) {
                        *sum *= scale;
                    }
                }
                scatter(positions.as_ref(), &at_positions, to.out);
            }
        }
        if let Some(bias) = &mut to.bias {
            assert_eq!(bias.len(), self.output.channels, "gradient of the bias");
            add_up(bias, &sums, |sums| &sums.bias);
        }
    }
}

/// Sums of a chunk that a task adds up, so that they stay in its cache.
const ADDED: usize = 1 << 11;

/// Overwrites `totals` with the sums over the blocks; a block may have none.
fn add_up(totals: &mut [f32], blocks: &[BlockSums], of: impl Fn(&BlockSums) -> &[f32] + Sync) {
    totals.par_chunks_mut(ADDED).enumerate().for_each(|(i, totals)| {
        let parts = blocks.iter().map(|block| of(block).get(i * ADDED..).unwrap_or_default());
        let n = totals.len();
        tree::add_up(totals, parts.map(|part| &part[..part.len().min(n)]));
    });
}

fn scatter(positions: Option<&Positions>, sums: &[f32], out: &mut [f32]) {
    for (&index, sum) in positions.iter().flat_map(|p| &p.indices).zip(sums) {
        out[index as usize] += sum;
    }
}

#[cfg(test)]
mod tests;
