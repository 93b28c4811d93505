//! A convolution laid out, and weights packed for it.

use super::{
    band::Weights,
    gather::Gather,
    weight_grad::Taps,
    weights::{DenseWeights, SparseWeights},
    winograd::{self, output::WinogradWeights},
};
use crate::{
    conv::ConvShape,
    lanes::{Lanes, Plane},
    sizes::index,
};

/// How weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// All of them: for layers that keep many.
    Dense,
    /// Those that are not zero, in whatever places they are.
    Sparse,
    /// All of them, for Winograd's minimal filtering: for layers that keep every weight. It rounds otherwise. Shapes that
    /// it is not for are packed [`Dense`](Self::Dense): it takes 3×3 kernels with padding 1, stride and dilation 1, one
    /// group of at least eight channels on both sides, and even planes.
    Winograd,
}

/// Weights packed for one direction of a convolution.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    pub(super) weights: Weights,
    is_transposed: bool,
    shape: ConvShape,
}

/// Bytes of packed rows and results that a band may take: about what a second-level cache holds. The longer the bands, the
/// fewer sums over lanes the gradient of the weight takes.
const BAND_BYTES: usize = 1 << 20;

/// A convolution of known shape.
#[derive(Clone, Debug)]
pub struct BlockedConv {
    pub(super) shape: ConvShape,
    pub(super) input: Plane,
    pub(super) output: Plane,
    pub(super) forward: Gather,
    pub(super) transposed: Gather,
    pub(super) taps: Taps,
    /// Output rows that are computed together.
    pub(super) band: usize,
    /// Whether it can go by way of [`winograd`]: the gradient of the whole weight does.
    pub(super) is_winograd: bool,
}

impl BlockedConv {
    /// Lays out a convolution.
    ///
    /// # Panics
    /// If [`ConvShape::out_size`] says that it is impossible, if there are 2³² weights or more, or if a row of all
    /// channels has 2³¹ floats or more with the padding and the rows that the kernel reaches.
    pub fn new(shape: ConvShape) -> Self {
        let (out_h, out_w) = shape.out_hw();
        index(shape.n_weights());
        let (batch, height, width) = (shape.batch, shape.height, shape.width);
        let input = Plane { batch, channels: shape.channels_in, height, width };
        let output = Plane { batch, channels: shape.channels_out, height: out_h, width: out_w };
        let forward = Gather::forward(&shape);
        let row = (forward.packed_row() * shape.stride + output.row()) * size_of::<Lanes>();
        // Rows around the band are packed as well, so that a band of few rows packs most of them twice.
        let band = (BAND_BYTES / row.max(1)).clamp(2, 16).min(out_h.max(1));
        let is_winograd = winograd::fits(&shape);
        let band = if is_winograd { band & !1 } else { band };
        Self {
            input,
            output,
            transposed: Gather::transposed(&shape),
            taps: Taps::new(&forward),
            forward,
            band,
            is_winograd,
            shape,
        }
    }

    /// The sizes that it was made with.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Sizes of the input.
    pub fn input(&self) -> &Plane {
        &self.input
    }

    /// Sizes of the output.
    pub fn output(&self) -> &Plane {
        &self.output
    }

    /// Packs a weight for [`forward`](Self::forward).
    ///
    /// # Panics
    /// If `weight` does not have the shape's number of weights.
    pub fn pack(&self, weight: &[f32], packing: Packing) -> PackedWeights {
        self.packed(&self.forward, weight, packing)
    }

    /// Packs a weight for the gradient of the input.
    ///
    /// # Panics
    /// If `weight` does not have the shape's number of weights.
    pub fn pack_transposed(&self, weight: &[f32], packing: Packing) -> PackedWeights {
        self.packed(&self.transposed, weight, packing)
    }

    fn packed(&self, gather: &Gather, weight: &[f32], packing: Packing) -> PackedWeights {
        assert_eq!(weight.len(), self.shape.n_weights(), "weight of {:?}", self.shape);
        let weights = match packing {
            Packing::Winograd if self.is_winograd => {
                Weights::Winograd(WinogradWeights::new(gather, weight))
            }
            Packing::Dense | Packing::Winograd => Weights::Dense(DenseWeights::new(gather, weight)),
            Packing::Sparse => Weights::Sparse(SparseWeights::new(gather, weight)),
        };
        PackedWeights { weights, is_transposed: gather.is_transposed, shape: self.shape }
    }

    pub(super) fn expect(&self, weights: &PackedWeights, is_transposed: bool) {
        let fits = ConvShape { batch: self.shape.batch, ..weights.shape } == self.shape;
        assert!(fits && weights.is_transposed == is_transposed, "weights packed for another use");
    }

    /// Sums that a block has for the gradient of the whole weight.
    pub(super) fn n_sums(&self) -> usize {
        match self.shape.n_weights() {
            n if self.is_winograd => winograd::weight_grad::n_points(n),
            n => n,
        }
    }
}
