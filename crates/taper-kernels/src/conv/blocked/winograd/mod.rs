//! 3×3 convolutions with four times fewer multiplications.
//!
//! Winograd's minimal filtering transforms each tile of 6×6 input pixels `d` and each 3×3 weight `g` to thirty-six
//! points. Points are multiplied one by one, and the products are summed over channels. The thirty-six sums are
//! transformed back to 4×4 pixels:
//!
//! ```text
//! Aᵀ·((G·g·Gᵀ) ⊙ (Bᵀ·d·B))·A
//! ```
//!
//! Rounding errors are about ten times those of the direct sum, and a non-finite value spreads over its tile. The
//! gradient of the weight is the same, transposed: `Gᵀ·(Σ (A·g·Aᵀ) ⊙ (Bᵀ·d·B))·G`.
//!
//! Points have channels in the lanes: `[point, sixteen channels, tile, channel]`. The products are then matrix
//! products, one per point, and nothing is summed over lanes.
//!
//! # References
//! Winograd, "Arithmetic complexity of computations"; Lavin and Gray (arXiv:1509.09308): this is their F(4×4, 3×3).

#![allow(clippy::needless_range_loop, reason = "loops over constants by index become registers")]

mod multiply;
pub(super) mod output;
pub(super) mod points;
pub(super) mod weight_grad;

use super::geometry::Geometry;
use crate::{conv::ConvShape, lanes::LANES};

/// Points of a tile, along one side and in all.
const SIDE: usize = 6;
const POINTS: usize = SIDE * SIDE;
/// Output pixels of a tile, along one side.
const TILE: usize = 4;
/// Number of tiles that are multiplied together, approximately.
const TILES: usize = 64;

/// Whether it supports this convolution: output, gradient of the input and gradient of the weight.
pub(super) fn fits(geometry: &Geometry) -> bool {
    let ConvShape { kernel, stride, dilation, padding, groups, .. } = geometry.shape;
    let is_plain = kernel == (3, 3) && stride == 1 && dilation == 1 && padding == 1;
    let is_wide = geometry.shape.channels_in >= 8 && geometry.shape.channels_out >= 8;
    is_plain && groups == 1 && is_wide && !geometry.grid.has_images_in_lanes
}

/// Tiles of a plane; input and output have planes of equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TileGrid {
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

impl TileGrid {
    pub(super) fn new(shape: &ConvShape) -> Self {
        let (height, width) = (shape.height, shape.width);
        Self { height, width, rows: height.div_ceil(TILE), columns: width.div_ceil(TILE) }
    }

    /// Tiles of an image.
    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Number of images with tiles that are multiplied together.
    pub(super) fn images(&self) -> usize {
        (TILES / self.len().max(1)).clamp(1, LANES)
    }
}

/// Sizes of the points of some images.
#[derive(Clone, Copy, Debug)]
struct PointSizes {
    /// Groups of sixteen channels.
    groups: usize,
    /// Tiles of all images.
    tiles: usize,
}

impl PointSizes {
    fn new(channels: usize, tiles: usize) -> Self {
        Self { groups: channels.div_ceil(LANES), tiles }
    }

    /// Vectors from one point to the next: a few more than needed, since addresses that are a power of two apart fall
    /// into few sets of a cache.
    fn point(&self) -> usize {
        self.groups * self.tiles + 5
    }

    /// Vectors of all points.
    fn len(&self) -> usize {
        POINTS * self.point()
    }
}
