//! Which gradients are wanted, and where they go.

use super::layout::PackedWeights;
use crate::{
    fused::{ActivationView, GradSums, PassWhere},
    lanes::{Lanes, Plane},
    mask::Mask,
    tree::Roots,
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
}

/// The gradient of the weight: at which positions, and whether there is a bias.
#[derive(Clone, Copy, Debug)]
pub struct WeightGrad<'a> {
    /// At which weights.
    pub at: GradAt<'a>,
    /// Whether the gradient of a bias is wanted, too.
    pub has_bias: bool,
}

/// What a backward pass sums over a share of a batch.
#[derive(Debug)]
pub struct BackwardSums {
    /// Of the gradient of each channel of the input, if it is finished.
    pub finish: Roots<Vec<GradSums>>,
    /// Of the gradients of weight and bias, if they are wanted.
    pub weight: Option<WeightSums>,
}

/// Sums for the gradients of weight and bias over a share of a batch.
#[derive(Clone, Debug)]
pub struct WeightSums {
    /// A root for each subtree that the share has whole, with its height.
    pub roots: Vec<(u32, WeightRoot)>,
    /// What is to be done with their sum.
    pub rest: WeightRest,
    /// Whether some blocks of the batch count for all weights.
    pub has_whole: bool,
}

/// Sums over a subtree of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightRoot {
    /// Of each weight's gradient over the blocks that count for all weights; none if no block does.
    pub all: Vec<f32>,
    /// Of the gradient at each position that is wanted exactly, over the blocks that do not.
    pub at: Vec<f32>,
    /// Of each output channel's gradient, if it is wanted.
    pub bias: Vec<f32>,
}

/// How the gradient of the weight follows from the sums over the batch.
#[derive(Clone, Debug)]
pub struct WeightRest {
    pub(super) n_weights: usize,
    /// The weights whose gradient is summed by position, or none.
    pub(super) indices: Vec<u32>,
    /// The factor of all others.
    pub(super) scale: Option<f32>,
}

impl WeightSums {
    /// The gradients of weight and bias, where the share is the whole batch. The bias has none if none was wanted.
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
    /// If there are not as many sums as weights or positions, or none of either.
    pub fn gradient(&self, all: Vec<f32>, at: &[f32]) -> Vec<f32> {
        let mut gradient = if all.is_empty() { vec![0.0; self.n_weights] } else { all };
        assert_eq!(gradient.len(), self.n_weights, "one sum a weight");
        assert!(at.is_empty() || at.len() == self.indices.len(), "one sum a position");
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

    /// How many weights there are.
    pub fn n_weights(&self) -> usize {
        self.n_weights
    }

    /// How many positions are summed by themselves.
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
        assert_eq!([self.mean.len(), n_scales], [channels; 2], "one a channel");
    }
}
