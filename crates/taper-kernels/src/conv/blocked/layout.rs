//! The memory layout of a convolution, and weights packed for it.

use super::{
    geometry::Geometry,
    weight_grad::TapReads,
    weights::{Kernels, Listed, Places},
    whole_grad, winograd,
};
use crate::{
    conv::ConvShape,
    lanes::{LANES, Plane},
    mask::Mask,
    simd::Variant,
    sizes::index,
};
use std::ops::Range;

/// How weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// All of them: for layers that keep many.
    Dense,
    /// Only the weights that are not zero, at any positions.
    Sparse,
    /// All of them, for Winograd's minimal filtering: for layers that keep most weights. Rounding differs from the
    /// direct sum. Other shapes are packed [`Dense`](Self::Dense): it requires 3×3 kernels with padding 1, stride and
    /// dilation 1, and one group of at least eight channels on both sides, of more than sixteen pixels each.
    Winograd,
}

/// Images per task of the forward pass; sixteen if lanes are images.
const PART: usize = 8;

/// Weights packed for one direction of a convolution.
#[derive(Debug)]
pub struct PackedWeights {
    pub(super) kernels: Kernels,
    is_transposed: bool,
    shape: ConvShape,
}

impl PackedWeights {
    /// The convolution that they are packed for.
    pub(super) fn shape(&self) -> &ConvShape {
        &self.shape
    }
}

/// A convolution of known shape.
#[derive(Clone, Debug)]
pub struct BlockedConv {
    pub(super) shape: ConvShape,
    pub(super) input: Plane,
    pub(super) output: Plane,
    pub(super) geometry: Geometry,
    pub(super) forward: Places,
    pub(super) transposed: Places,
    pub(super) reads: TapReads,
    /// Whether [`winograd`] supports it. The gradient of the whole weight then uses it.
    pub(super) is_winograd: bool,
    /// Whether the gradient of the whole weight is otherwise a matrix product.
    pub(super) is_mixing: bool,
}

impl BlockedConv {
    /// Computes the layout of a convolution.
    ///
    /// # Panics
    /// If [`ConvShape::out_size`] is `None`, if there are 2³² weights or more, or if input and output of one image have
    /// 2²⁹ floats or more, including the zeros around them.
    pub fn new(shape: ConvShape) -> Self {
        let geometry = Geometry::new(shape);
        let (height, width) = geometry.out;
        index(shape.n_weights());
        let input = Plane {
            batch: shape.batch,
            channels: shape.channels_in,
            height: shape.height,
            width: shape.width,
        };
        let output = Plane { channels: shape.channels_out, height, width, ..input };
        let forward = Places::new(&geometry, false);
        let reads = TapReads::new(&geometry, forward.sources);
        let transposed = Places::new(&geometry, true);
        let (is_winograd, is_mixing) = (winograd::fits(&geometry), whole_grad::fits(&geometry));
        Self { shape, input, output, forward, transposed, reads, is_winograd, is_mixing, geometry }
    }

    /// The sizes of the convolution.
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

    /// Whether [`Packing::Winograd`] is Winograd's minimal filtering for this shape.
    pub fn supports_winograd(&self) -> bool {
        self.is_winograd
    }

    /// Packs a weight for [`forward`](Self::forward). `kept` has all weights that are not zero, if they are known.
    ///
    /// # Panics
    /// If `weight` or `kept` does not have the shape's number of weights.
    pub fn pack(&self, weight: &[f32], kept: Option<&Mask>, packing: Packing) -> PackedWeights {
        self.packed(false, weight, kept, packing)
    }

    /// Packs a weight for the gradient of the input. `kept` has all weights that are not zero, if they are known.
    ///
    /// # Panics
    /// If `weight` or `kept` does not have the shape's number of weights.
    pub fn pack_transposed(
        &self,
        weight: &[f32],
        kept: Option<&Mask>,
        packing: Packing,
    ) -> PackedWeights {
        self.packed(true, weight, kept, packing)
    }

    fn packed(
        &self,
        is_transposed: bool,
        weight: &[f32],
        kept: Option<&Mask>,
        packing: Packing,
    ) -> PackedWeights {
        assert_eq!(weight.len(), self.shape.n_weights(), "weight of {:?}", self.shape);
        let mask_len = kept.map_or(weight.len(), Mask::len);
        assert_eq!(mask_len, weight.len(), "mask of {:?}", self.shape);
        let (variant, geometry) = (Variant::current(), &self.geometry);
        let kernels = match packing {
            Packing::Winograd if self.is_winograd => {
                Kernels::filtering(variant, geometry, is_transposed, weight)
            }
            Packing::Dense | Packing::Winograd => {
                Kernels::new(variant, geometry, is_transposed, weight, Listed::All)
            }
            Packing::Sparse => {
                let listed = kept.map_or(Listed::NotZero, Listed::Kept);
                Kernels::new(variant, geometry, is_transposed, weight, listed)
            }
        };
        PackedWeights { kernels, is_transposed, shape: self.shape }
    }

    pub(super) fn expect(&self, weights: &PackedWeights, is_transposed: bool) {
        let fits = ConvShape { batch: self.shape.batch, ..weights.shape } == self.shape;
        assert!(
            fits && weights.is_transposed == is_transposed,
            "the weights were packed for another convolution or direction"
        );
    }

    /// Number of sums of a block for the gradient of the whole weight.
    pub(super) fn n_sums(&self) -> usize {
        if self.is_winograd || self.is_mixing {
            return self.shape.n_weights();
        }
        self.output.channels * self.reads.len()
    }

    /// Images of a part of the output. A task computes one part.
    pub(super) fn part(&self) -> usize {
        PART.max(self.geometry.grid.images())
    }

    /// Units of a part.
    pub(super) fn units(&self, part: usize) -> Range<usize> {
        self.units_of(part, self.part())
    }

    /// Units of a block of sixteen images.
    pub(super) fn block_units(&self, block: usize) -> Range<usize> {
        self.units_of(block, LANES)
    }

    fn units_of(&self, i: usize, images: usize) -> Range<usize> {
        let end = ((i + 1) * images).min(self.shape.batch);
        i * images / self.geometry.grid.images()..end.div_ceil(self.geometry.grid.images())
    }
}
