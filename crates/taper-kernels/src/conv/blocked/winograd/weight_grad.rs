//! The gradient of the weight: `Gᵀ·(Σ (A·g·Aᵀ) ⊙ (Bᵀ·d·B))·G`, with one product per point, summed over tiles and images
//! before the sums are brought back.

use super::{Buffers, InputPoints, POINTS, make_room};
use crate::{
    conv::blocked::weight_grad::Pair,
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd, add_sums},
    sizes::signed,
};
use std::ops::Range;

/// Number of sums for a number of weights.
pub(in super::super) fn n_points(n_weights: usize) -> usize {
    n_weights / 9 * POINTS
}

/// Adds a band to the sums `[point, output channel, input channel]`.
///
/// # Safety
/// The instructions of `S` must be available, and both sides of `pair` must hold the rows of `band`.
#[inline(always)]
pub(in super::super) unsafe fn add<S: Simd>(
    pair: &Pair,
    band: &Range<usize>,
    mut buffers: Buffers,
    points: &mut [f32],
) {
    let (outs, ins) = (pair.forward.dst_channels(), pair.forward.src_channels());
    let (rows, cols) = (band.len() / 2, pair.forward.dst.1 / 2);
    let tiles = rows * cols;
    assert_eq!(points.len(), POINTS * outs * ins, "one sum a point");
    make_room(&mut buffers, (outs, ins), tiles);
    let (u, v) = buffers;
    for column in 0..4 {
        for y in 0..rows {
            let row = band.start + 2 * y;
            // SAFETY: the rows of a tile are the band's; the points of each channel and tile have a place.
            unsafe {
                let first = y * cols;
                S::call(GradPoints { pair, row, column, first, tiles, cols, to: &mut *u });
                let (gather, source) = (pair.forward, pair.input);
                S::call(InputPoints {
                    gather,
                    source,
                    row,
                    column,
                    first,
                    tiles,
                    cols,
                    to: &mut *v,
                });
            }
        }
        for row in 0..4 {
            let (u, v) = (&u[row * outs * tiles..], &v[row * ins * tiles..]);
            let sums = &mut points[(4 * row + column) * outs * ins..][..outs * ins];
            let mut out = 0;
            while out < outs {
                let (u, sums) = (&u[out * tiles..], &mut sums[out * ins..]);
                // SAFETY: as above.
                out += unsafe {
                    match outs - out {
                        4.. if S::ACCUMULATORS >= 24 => {
                            products::<S, 4>(u, v, tiles, ins, sums, pair.is_first)
                        }
                        2.. => products::<S, 2>(u, v, tiles, ins, sums, pair.is_first),
                        _ => products::<S, 1>(u, v, tiles, ins, sums, pair.is_first),
                    }
                };
            }
        }
    }
}

/// Brings the sums back to weights, and adds them to `grad`.
pub(in super::super) fn finish(points: &[f32], grad: &mut [f32]) {
    let n = points.len() / POINTS;
    for (pair, grad) in grad.chunks_exact_mut(9).take(n).enumerate() {
        let m = |row: usize, column: usize| points[(4 * row + column) * n + pair];
        // Gᵀ from the left, then G from the right.
        let left: [[f32; 4]; 3] = [
            std::array::from_fn(|c| m(0, c) + 0.5 * (m(1, c) + m(2, c))),
            std::array::from_fn(|c| 0.5 * (m(1, c) - m(2, c))),
            std::array::from_fn(|c| 0.5 * (m(1, c) + m(2, c)) + m(3, c)),
        ];
        for (grad, l) in grad.chunks_exact_mut(3).zip(left) {
            grad[0] += l[0] + 0.5 * (l[1] + l[2]);
            grad[1] += 0.5 * (l[1] - l[2]);
            grad[2] += 0.5 * (l[1] + l[2]) + l[3];
        }
    }
}

/// One column of the points of a row of gradient tiles: `[row of points, channel, tile]`.
struct GradPoints<'a> {
    pair: &'a Pair<'a>,
    row: usize,
    column: usize,
    first: usize,
    tiles: usize,
    cols: usize,
    to: &'a mut [Lanes],
}

impl Kernel for GradPoints<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let channels = self.pair.forward.dst_channels();
        let grad = self.pair.grad;
        assert!(self.to.len() >= 4 * channels * self.tiles);
        for channel in 0..channels {
            // SAFETY: two rows of `2·cols` pixels each, and four places for each tile.
            unsafe {
                let from = |row: usize| {
                    let at = grad.place(signed(row)) as usize + channel * self.pair.grad_width;
                    grad.pixels()[at..at + 2 * self.cols].as_ptr().cast::<f32>()
                };
                let rows = [from(self.row), from(self.row + 1)];
                let to = self.to[channel * self.tiles + self.first..].as_mut_ptr().cast::<f32>();
                let step = channels * self.tiles * LANES;
                for i in (0..self.cols * LANES).step_by(S::WIDTH) {
                    let at = i / LANES * 2 * LANES + i % LANES;
                    let mut points = [S::splat(0.0); 2];
                    for (point, row) in points.iter_mut().zip(rows) {
                        let left = S::load(row.add(at));
                        let right = S::load(row.add(at + LANES));
                        *point = match self.column {
                            0 => left,
                            1 => S::add(left, right),
                            2 => S::sub(left, right),
                            _ => S::sub(S::splat(0.0), right),
                        };
                    }
                    let [a, b] = points;
                    S::store(to.add(i), a);
                    S::store(to.add(step + i), S::add(a, b));
                    S::store(to.add(2 * step + i), S::sub(a, b));
                    S::store(to.add(3 * step + i), S::sub(S::splat(0.0), b));
                }
            }
        }
    }
}

/// The products of `O` output channels with all input channels, at one point; gives `O`.
#[inline(always)]
unsafe fn products<S: Simd, const O: usize>(
    u: &[Lanes],
    v: &[Lanes],
    tiles: usize,
    ins: usize,
    sums: &mut [f32],
    is_first: bool,
) -> usize {
    let mut at = 0;
    while at < ins {
        let (v, sums) = (&v[at * tiles..], &mut sums[at..]);
        // SAFETY: as the caller vouches.
        at += unsafe {
            match ins - at {
                4.. => product::<S, O, 4>(u, v, tiles, ins, sums, is_first),
                2.. => product::<S, O, 2>(u, v, tiles, ins, sums, is_first),
                _ => product::<S, O, 1>(u, v, tiles, ins, sums, is_first),
            }
        };
    }
    O
}

#[inline(always)]
unsafe fn product<S: Simd, const O: usize, const I: usize>(
    u: &[Lanes],
    v: &[Lanes],
    tiles: usize,
    ins: usize,
    sums: &mut [f32],
    is_first: bool,
) -> usize {
    let (u, v) = (&u[..O * tiles], &v[..I * tiles]);
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let totals = S::call(Product::<O, I> { u, v, tiles });
        add_sums::<S, I>(&totals, sums, ins, is_first);
    }
    I
}

/// `O × I` products, lane by lane. Sums and operands together must fit the registers, or the compiler spills sums.
struct Product<'a, const O: usize, const I: usize> {
    u: &'a [Lanes],
    v: &'a [Lanes],
    tiles: usize,
}

impl<const O: usize, const I: usize> Kernel for Product<'_, O, I> {
    type Out = [[Lanes; I]; O];

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [[Lanes; I]; O] {
        let mut totals = [[Lanes::ZERO; I]; O];
        assert!(self.u.len() == O * self.tiles && self.v.len() == I * self.tiles);
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: both sides have `tiles` pixels for each channel.
            unsafe {
                let acc = self.lanes::<S>(part);
                for (totals, acc) in totals.iter_mut().zip(acc) {
                    for (total, acc) in totals.iter_mut().zip(acc) {
                        S::store(total.0.as_mut_ptr().add(part), acc);
                    }
                }
            }
        }
        totals
    }
}

impl<const O: usize, const I: usize> Product<'_, O, I> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, part: usize) -> [[S::V; I]; O] {
        let step = self.tiles * LANES;
        // SAFETY: both sides have `tiles` pixels for each channel, as `run` has asserted.
        unsafe {
            let mut acc = [[S::splat(0.0); I]; O];
            let u: [*const f32; O] =
                std::array::from_fn(|o| self.u.as_ptr().cast::<f32>().add(o * step + part));
            let v: [*const f32; I] =
                std::array::from_fn(|i| self.v.as_ptr().cast::<f32>().add(i * step + part));
            for tile in 0..self.tiles {
                let mut left = [S::splat(0.0); O];
                for (o, left) in left.iter_mut().enumerate() {
                    *left = S::load(u[o].add(tile * LANES));
                }
                for i in 0..I {
                    let right = S::load(v[i].add(tile * LANES));
                    for o in 0..O {
                        acc[o][i] = S::fma(left[o], right, acc[o][i]);
                    }
                }
            }
            acc
        }
    }
}
