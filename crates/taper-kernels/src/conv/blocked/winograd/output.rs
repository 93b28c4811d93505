//! The output, and the gradient of the input: the same computation with the weight transposed and rotated by 180°.

use super::{
    POINTS, PointSizes, SIDE, TileGrid,
    multiply::OverChannels,
    points::{FromPoints, ImagePlanes, ToPoints, Transform},
};
use crate::{
    conv::blocked::{
        arena::{Turned, make_room},
        geometry::{Geometry, Slots},
    },
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd, Variant, launch},
};
use rayon::prelude::*;

/// Weights transformed to points.
#[derive(Clone, Debug)]
pub(in super::super) struct WinogradWeights {
    /// `[point, source, sixteen channels]`.
    values: Vec<Lanes>,
    sources: usize,
    channels: usize,
    tiles: TileGrid,
    pitch: usize,
}

/// Weights that a task transforms at a time.
const RUN: usize = 64;

impl WinogradWeights {
    pub(in super::super) fn new(
        variant: Variant,
        geometry: &Geometry,
        is_transposed: bool,
        weight: &[f32],
    ) -> Self {
        let (inp, out) = (geometry.shape.channels_in, geometry.shape.channels_out);
        let (sources, channels) = if is_transposed { (out, inp) } else { (inp, out) };
        let groups = channels.div_ceil(LANES);
        let n = sources * groups;
        let nine = |i: usize| {
            let (source, group) = (i / groups, i % groups);
            let mut g = [Lanes::ZERO; 9];
            for lane in 0..LANES.min(channels - group * LANES) {
                let channel = group * LANES + lane;
                let pair =
                    if is_transposed { source * inp + channel } else { channel * inp + source };
                let weights = &weight[pair * 9..][..9];
                for (k, g) in g.iter_mut().enumerate() {
                    g.0[lane] = weights[if is_transposed { 8 - k } else { k }];
                }
            }
            g
        };
        let mut values = vec![Lanes::ZERO; n * POINTS];
        // All points of a weight are computed together but lie far apart, so a task takes some weights at a time.
        let mut runs: Vec<Vec<&mut [Lanes]>> = (0..n.div_ceil(RUN)).map(|_| Vec::new()).collect();
        for of_point in values.chunks_mut(n.max(1)) {
            runs.iter_mut().zip(of_point.chunks_mut(RUN)).for_each(|(run, part)| run.push(part));
        }
        runs.into_par_iter().enumerate().for_each(|(run, mut parts)| {
            let mut points = [Lanes::ZERO; POINTS];
            for i in 0..RUN.min(n - run * RUN) {
                let points_of = WeightPoints { g: &nine(run * RUN + i), points: &mut points };
                launch(variant, points_of);
                parts.iter_mut().zip(&points).for_each(|(part, point)| part[i] = *point);
            }
        });
        let tiles = TileGrid::new(&geometry.shape);
        Self { values, sources, channels, tiles, pitch: geometry.grid.pitch }
    }

    /// Number of images with tiles that are multiplied together.
    pub(in super::super) fn images(&self) -> usize {
        self.tiles.images()
    }

    /// Computes the planes of some images. Images are `unit` floats apart; the last one may have fewer floats. Planes
    /// that are read begin at 0 and lie as `sources` says. Planes that are written begin at `first_result`.
    pub(in super::super) fn run(
        &self,
        variant: Variant,
        arena: &mut [f32],
        unit: usize,
        sources: Slots,
        (first_result, results): (usize, Slots),
        memory: &mut Turned,
    ) {
        let (tiles, pitch) = (self.tiles, self.pitch);
        let n_images = arena.len().div_ceil(unit);
        let n_tiles = n_images * tiles.len();
        let [from_sizes, to_sizes] =
            [self.sources, self.channels].map(|channels| PointSizes::new(channels, n_tiles));
        let [points, sums, _, rows] = memory;
        make_room(points, from_sizes.len());
        make_room(sums, to_sizes.len());
        for (image, arena) in arena.chunks(unit).enumerate() {
            let planes = &arena[..first_result];
            let from = ImagePlanes { planes, slots: sources, pitch, channels: self.sources };
            let (first, transform) = (image * tiles.len(), Transform::Input);
            let (to, rows) = (&mut points[..], &mut *rows);
            launch(
                variant,
                ToPoints { from, tiles, transform, sizes: from_sizes, first, to, rows },
            );
        }
        let product = OverChannels {
            weights: &self.values,
            n_sources: self.sources,
            sources: points,
            source_sizes: from_sizes,
            n_tiles,
            sums,
            sum_sizes: to_sizes,
        };
        launch(variant, product);
        for (image, arena) in arena.chunks_mut(unit).enumerate() {
            let back = FromPoints {
                from: sums,
                sizes: to_sizes,
                first: image * tiles.len(),
                tiles,
                channels: self.channels,
                planes: &mut arena[first_result..],
                slots: results,
                pitch,
                rows: &mut *rows,
            };
            launch(variant, back);
        }
    }
}

/// `G·g·Gᵀ` of sixteen weights.
struct WeightPoints<'a> {
    g: &'a [Lanes; 9],
    points: &'a mut [Lanes],
}

impl Kernel for WeightPoints<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { g, points } = self;
        assert_eq!(points.len(), POINTS);
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: each weight and point has the floats of every part.
            unsafe {
                let load = |k: usize| S::load(g[k].0.as_ptr().add(part));
                let mut left = [[S::splat(0.0); 3]; SIDE];
                for x in 0..3 {
                    let column = spread::<S>([load(x), load(3 + x), load(6 + x)]);
                    for r in 0..SIDE {
                        left[r][x] = column[r];
                    }
                }
                for (r, row) in left.into_iter().enumerate() {
                    for (x, value) in spread::<S>(row).into_iter().enumerate() {
                        S::store(points[r * SIDE + x].0.as_mut_ptr().add(part), value);
                    }
                }
            }
        }
    }
}

/// `G` along one side.
#[inline(always)]
unsafe fn spread<S: Simd>([a, b, c]: [S::V; 3]) -> [S::V; SIDE] {
    // SAFETY: the caller guarantees the instruction set.
    unsafe {
        let share = |n: f32| S::splat(1.0 / n);
        let ends = S::add(a, c);
        let wide = S::fma(S::splat(4.0), c, a);
        let twice = S::add(b, b);
        [
            S::mul(share(4.0), a),
            S::mul(share(-6.0), S::add(ends, b)),
            S::mul(share(-6.0), S::sub(ends, b)),
            S::mul(share(24.0), S::add(wide, twice)),
            S::mul(share(24.0), S::sub(wide, twice)),
            c,
        ]
    }
}
