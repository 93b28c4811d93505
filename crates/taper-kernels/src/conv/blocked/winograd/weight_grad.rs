//! The gradient of the weight: `Gᵀ·(Σ (A·g·Aᵀ) ⊙ (Bᵀ·d·B))·G`. There is one product per point; products are summed over
//! the tiles of a block of images, and the sums are transformed back.

use super::{
    POINTS, PointSizes, SIDE, TileGrid,
    multiply::OverTiles,
    points::{ImagePlanes, ToPoints, Transform},
};
use crate::{
    conv::blocked::arena::{Turned, make_room},
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd, Variant, launch},
};

/// The points of a block's images so far, and their sums.
pub(in super::super) struct BlockPoints<'a> {
    tiles: TileGrid,
    channels: [usize; 2],
    sizes: [PointSizes; 2],
    /// Points of input and gradient, their products, and intermediate rows.
    memory: &'a mut Turned,
    /// Number of images with points that have not been multiplied.
    waiting: usize,
}

impl<'a> BlockPoints<'a> {
    /// Points of no image.
    pub(in super::super) fn new(
        tiles: TileGrid,
        channels_in: usize,
        channels_out: usize,
        memory: &'a mut Turned,
    ) -> Self {
        let n = tiles.images() * tiles.len();
        let sizes = [channels_in, channels_out].map(|channels| PointSizes::new(channels, n));
        let [input, grad, products, _] = memory;
        make_room(input, sizes[0].len());
        make_room(grad, sizes[1].len());
        products.clear();
        products.resize(POINTS * sizes[1].groups * LANES * sizes[0].groups, Lanes::ZERO);
        Self { tiles, channels: [channels_in, channels_out], sizes, memory, waiting: 0 }
    }

    /// Adds an image.
    pub(in super::super) fn add(
        &mut self,
        variant: Variant,
        input: ImagePlanes,
        grad: ImagePlanes,
    ) {
        let [of_input, of_grad, _, rows] = &mut *self.memory;
        let first = self.waiting * self.tiles.len();
        let parts = [
            (input, Transform::Input, of_input, self.sizes[0]),
            (grad, Transform::Grad, of_grad, self.sizes[1]),
        ];
        for (from, transform, to, sizes) in parts {
            let (tiles, rows) = (self.tiles, &mut *rows);
            launch(variant, ToPoints { from, tiles, transform, sizes, first, to, rows });
        }
        self.waiting += 1;
        if self.waiting == self.tiles.images() {
            self.multiply(variant);
        }
    }

    fn multiply(&mut self, variant: Variant) {
        let [channels, rows, sums, _] = &mut *self.memory;
        let product = OverTiles {
            rows,
            row_sizes: self.sizes[1],
            channels,
            channel_sizes: self.sizes[0],
            n_tiles: self.waiting * self.tiles.len(),
            sums,
        };
        launch(variant, product);
        self.waiting = 0;
    }

    /// Writes the gradient of each weight.
    pub(in super::super) fn finish(mut self, variant: Variant, grad: &mut [f32]) {
        if self.waiting > 0 {
            self.multiply(variant);
        }
        let [channels, ..] = self.channels;
        let sums = &self.memory[2];
        let (groups, rows) = (self.sizes[0].groups, self.sizes[1].groups * LANES);
        launch(variant, SumsToWeights { sums, groups, rows, channels, grad });
    }
}

/// Transforms sums back to weights.
struct SumsToWeights<'a> {
    /// `[point, row, sixteen channels]`.
    sums: &'a [Lanes],
    groups: usize,
    rows: usize,
    channels: usize,
    /// `[row, channel, 9]`, only rows and channels that exist.
    grad: &'a mut [f32],
}

impl Kernel for SumsToWeights<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { sums, groups, rows, channels, grad } = self;
        assert!(sums.len() >= POINTS * rows * groups);
        for (row, grad) in grad.chunks_exact_mut(channels * 9).enumerate() {
            for (group, grad) in grad.chunks_mut(LANES * 9).enumerate() {
                let mut found = [Lanes::ZERO; 9];
                let from = sums[row * groups + group..].as_ptr().cast::<f32>();
                for part in (0..LANES).step_by(S::WIDTH) {
                    // SAFETY: each point has a vector of this row and group.
                    unsafe {
                        let mut left = [[S::splat(0.0); SIDE]; 3];
                        for x in 0..SIDE {
                            let place = |r: usize| (r * SIDE + x) * rows * groups * LANES + part;
                            let column = std::array::from_fn(|r| S::load(from.add(place(r))));
                            let back = weights::<S>(column);
                            for r in 0..3 {
                                left[r][x] = back[r];
                            }
                        }
                        for (r, row) in left.into_iter().enumerate() {
                            for (x, value) in weights::<S>(row).into_iter().enumerate() {
                                S::store(found[3 * r + x].0.as_mut_ptr().add(part), value);
                            }
                        }
                    }
                }
                for (channel, grad) in grad.chunks_exact_mut(9).enumerate() {
                    for (grad, found) in grad.iter_mut().zip(&found) {
                        *grad = found.0[channel];
                    }
                }
            }
        }
    }
}

/// `Gᵀ` along one side.
#[inline(always)]
unsafe fn weights<S: Simd>(m: [S::V; SIDE]) -> [S::V; 3] {
    // SAFETY: the caller guarantees the instruction set.
    unsafe {
        let share = |n: f32| S::splat(1.0 / n);
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[2], m[1]));
        let (sum2, difference2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        let first = S::fma(share(-6.0), sum, S::mul(share(4.0), m[0]));
        [
            S::fma(share(24.0), sum2, first),
            S::fma(share(12.0), difference2, S::mul(share(6.0), difference)),
            S::add(S::mul(share(6.0), S::sub(sum2, sum)), m[5]),
        ]
    }
}
