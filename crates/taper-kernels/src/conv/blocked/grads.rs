//! Which gradients are wanted, and where they go.

use super::layout::PackedWeights;
use crate::{
    fused::{ActivationView, GradSums, PassWhere},
    lanes::{Lanes, Plane},
    mask::Mask,
};

/// At which weights the gradient is wanted.
#[derive(Clone, Copy, Debug)]
pub enum GradAt<'a> {
    /// At all of them.
    All,
    /// At those of the mask; 0 elsewhere.
    Masked(&'a Mask),
    /// At those of the mask from the whole batch; elsewhere from some of its blocks, times `scale`.
    Sampled {
        /// Where the gradient is exact.
        exact: &'a Mask,
        /// Which blocks of sixteen images count elsewhere, one flag a block.
        blocks: &'a [bool],
        /// Number of blocks over the number of those that count, for an estimate without bias.
        scale: f32,
    },
}

/// The gradient of the input: where to, and what is done with it on the way.
#[derive(Debug)]
pub struct InputGrad<'a> {
    /// The weights, packed by [`BlockedConv::pack_transposed`](super::BlockedConv::pack_transposed).
    pub weights: &'a PackedWeights,
    /// The channels of the input, one part after the other.
    pub parts: Vec<GradPart<'a>>,
    /// What is done with the gradient while it is in the cache, if it is complete with this convolution.
    pub finish: Option<Finish<'a>>,
}

impl<'a> InputGrad<'a> {
    /// All channels in one part, and nothing done on the way.
    pub fn new(weights: &'a PackedWeights, out: &'a mut [Lanes], is_added: bool) -> Self {
        let part = GradPart { channels: weights.shape().channels_in, out, is_added };
        Self { weights, parts: vec![part], finish: None }
    }
}

/// Where the gradient of some channels goes.
#[derive(Debug)]
pub struct GradPart<'a> {
    /// Number of channels.
    pub channels: usize,
    /// An activation of so many channels.
    pub out: &'a mut [Lanes],
    /// Whether `out` holds a gradient already, to which this one is added.
    pub is_added: bool,
}

/// The first part of the backward pass of a rectifier and a normalisation before the convolution: only what passes
/// of the input's gradient stays, and it is summed over the batch.
#[derive(Debug)]
pub struct Finish<'a> {
    /// What passes.
    pub pass: PassWhere<'a>,
    /// What the normalisation read, of the input's shape.
    pub x: ActivationView<'a>,
    /// Centre of each channel of `x`.
    pub mean: &'a [f32],
    /// Factors of the channels, if the parts take gradients of the normalisation's input. What passes is then multiplied by
    /// the factor of its channel and stored. The terms that depend on the sums are not in the parts; the caller adds them.
    pub scale: Option<&'a [f32]>,
    /// The sums, one of each channel; overwritten.
    pub sums: &'a mut [GradSums],
}

/// The gradient of the weight: where to, and at which positions.
#[derive(Debug)]
pub struct WeightGrad<'a> {
    /// At which weights.
    pub at: GradAt<'a>,
    /// Of the weight's shape; overwritten.
    pub out: &'a mut [f32],
    /// The gradient of the bias if there is one, a value for each output channel; overwritten.
    pub bias: Option<&'a mut [f32]>,
}

impl Finish<'_> {
    pub(super) fn check(&self, plane: &Plane) {
        self.pass.check(plane);
        self.x.check(plane, "activation");
        let channels = plane.channels;
        let n_scales = self.scale.map_or(channels, <[f32]>::len);
        let are_of_channels = [self.mean.len(), self.sums.len(), n_scales].map(|n| n == channels);
        assert_eq!(are_of_channels, [true; 3], "one a channel");
    }
}
