//! Which gradients a backward pass computes, and where it stores them.

use super::layout::PackedWeights;
use crate::{
    fused::{ActivationView, GradSums, PassWhere},
    lanes::{Lanes, Plane},
    mask::Mask,
    tree::Roots,
};

/// The weights with a gradient to compute.
#[derive(Clone, Copy, Debug)]
pub enum GradAt<'a> {
    /// All of them.
    All,
    /// At the weights of the mask; 0 elsewhere.
    Masked(&'a Mask),
    /// At the weights of the mask, from the whole batch; elsewhere from some blocks of the batch, times `scale`.
    Sampled {
        /// Where the gradient is exact.
        exact: &'a Mask,
        /// Which blocks of sixteen images count elsewhere, one flag per block.
        blocks: &'a [bool],
        /// Number of blocks divided by the number of blocks that count, for an unbiased estimate.
        scale: f32,
    },
}

/// The gradient of the input: where it is stored, and the operations that are applied on the way.
#[derive(Debug)]
pub struct InputGrad<'a> {
    /// The weights, packed by [`BlockedConv::pack_transposed`](super::BlockedConv::pack_transposed).
    pub weights: &'a PackedWeights,
    /// The channels of the input, one part after another.
    pub parts: Vec<GradPart<'a>>,
    /// The operations that are applied while the gradient is in the cache, if this convolution completes it.
    pub finish: Option<Finish<'a>>,
}

impl<'a> InputGrad<'a> {
    /// All channels in one part, without operations on the way.
    pub fn new(weights: &'a PackedWeights, out: &'a mut [Lanes], is_added: bool) -> Self {
        let part = GradPart { channels: weights.shape().channels_in, out, is_added };
        Self { weights, parts: vec![part], finish: None }
    }
}

/// Where the gradient of some channels is stored.
#[derive(Debug)]
pub struct GradPart<'a> {
    /// Number of channels.
    pub channels: usize,
    /// An activation of `channels` channels.
    pub out: &'a mut [Lanes],
    /// Whether `out` holds a gradient already, to which this one is added.
    pub is_added: bool,
}

/// The first part of the backward pass of a batch norm with ReLU before the convolution: the ReLU masks the gradient of
/// the input, and the result is summed over the batch.
#[derive(Debug)]
pub struct Finish<'a> {
    /// Where the gradient passes.
    pub pass: PassWhere<'a>,
    /// The input of the batch norm, with the sizes of the convolution's input.
    pub x: ActivationView<'a>,
    /// Centre of each channel of `x`.
    pub mean: &'a [f32],
    /// One factor per channel, if the parts store gradients of the batch norm's input. The masked gradient is then
    /// multiplied by the factor of its channel. The terms that depend on the sums are not included; the caller adds
    /// them.
    pub scale: Option<&'a [f32]>,
}

/// The gradient of the weight: at which positions, and whether there is a bias.
#[derive(Clone, Copy, Debug)]
pub struct WeightGrad<'a> {
    /// At which weights.
    pub at: GradAt<'a>,
    /// Whether to compute the gradient of a bias, too.
    pub has_bias: bool,
}

/// The sums of a backward pass over a rank's part of a batch.
#[derive(Debug)]
pub struct BackwardSums {
    /// Sums of the gradient of each input channel, if there is a [`Finish`].
    pub finish: Roots<Vec<GradSums>>,
    /// Sums for the gradients of weight and bias, if requested.
    pub weight: Option<WeightSums>,
}

/// Sums for the gradients of weight and bias over a rank's part of a batch.
#[derive(Clone, Debug)]
pub struct WeightSums {
    /// Height and root of each of the largest subtrees within the share.
    pub roots: Vec<(u32, WeightRoot)>,
    /// How the gradient follows from the sum of the roots.
    pub rest: WeightRest,
    /// Whether some blocks of the batch count for all weights.
    pub has_whole: bool,
}

/// Sums over a subtree of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightRoot {
    /// Sums of each weight's gradient over the blocks that count for all weights; empty if no block does.
    pub all: Vec<f32>,
    /// Sums of the gradient at each exact position over the other blocks.
    pub at: Vec<f32>,
    /// Sums of each output channel's gradient, if requested.
    pub bias: Vec<f32>,
}

/// How the gradient of the weight follows from the sums over the batch.
#[derive(Clone, Debug)]
pub struct WeightRest {
    pub(super) n_weights: usize,
    /// The weights with a gradient that is summed by position; empty if there are none.
    pub(super) indices: Vec<u32>,
    /// The factor of all other weights.
    pub(super) scale: Option<f32>,
}

impl WeightSums {
    /// The gradients of weight and bias, if the share is the whole batch. The gradient of the bias is empty if not
    /// requested.
    pub fn gradients(self) -> (Vec<f32>, Vec<f32>) {
        let root = self.roots.into_iter().next().map(|(_, root)| root);
        let root = root.unwrap_or_default();
        (self.rest.gradient(root.all, &root.at), root.bias)
    }
}

impl WeightRest {
    /// The gradient of the weight, from sums over the batch.
    ///
    /// # Panics
    /// If `all` has neither one sum per weight nor none, or `at` has neither one sum per position nor none.
    pub fn gradient(&self, all: Vec<f32>, at: &[f32]) -> Vec<f32> {
        let mut gradient = if all.is_empty() { vec![0.0; self.n_weights] } else { all };
        assert_eq!(gradient.len(), self.n_weights, "one sum per weight");
        assert!(at.is_empty() || at.len() == self.indices.len(), "one sum per position");
        let positions = self.indices.iter().enumerate();
        let exact: Vec<f32> = positions
            .map(|(i, &index)| gradient[index as usize] + at.get(i).copied().unwrap_or(0.0))
            .collect();
        if let Some(scale) = self.scale {
            gradient.iter_mut().for_each(|sum| *sum *= scale);
        }
        for (&index, sum) in self.indices.iter().zip(exact) {
            gradient[index as usize] = sum;
        }
        gradient
    }

    /// Number of weights.
    pub fn n_weights(&self) -> usize {
        self.n_weights
    }

    /// Number of positions that are summed separately.
    pub fn n_positions(&self) -> usize {
        self.indices.len()
    }
}

impl Finish<'_> {
    pub(super) fn check(&self, plane: &Plane) {
        self.pass.check(plane);
        self.x.check(plane, "activation");
        let channels = plane.channels;
        let n_scales = self.scale.map_or(channels, <[f32]>::len);
        assert_eq!([self.mean.len(), n_scales], [channels; 2], "one value per channel");
    }
}
