//! Functions of single pixels, products, and softmax.

use super::layout::Layout;
use crate::{
    Variant,
    simd::{Kernel, Simd, launch},
};

/// A function of one pixel. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `x / (1 + e⁻ˣ)`.
    Silu,
    /// `min(max(alpha·x + beta, 0), 1)`.
    HardSigmoid {
        /// Factor.
        alpha: f32,
        /// Summand.
        beta: f32,
    },
    /// `x · min(max(x + 3, 0), 6) / 6`.
    HardSwish,
}

impl Function {
    #[inline(always)]
    fn apply(self, values: &mut [f32]) {
        match self {
            Self::Sigmoid => values.iter_mut().for_each(|v| *v = sigmoid(*v)),
            Self::Silu => values.iter_mut().for_each(|v| *v *= sigmoid(*v)),
            Self::HardSigmoid { alpha, beta } => {
                values.iter_mut().for_each(|v| *v = clip(alpha.mul_add(*v, beta), 0.0, 1.0));
            }
            Self::HardSwish => {
                values.iter_mut().for_each(|v| *v = *v * clip(*v + 3.0, 0.0, 6.0) * (1.0 / 6.0));
            }
        }
    }
}

#[inline(always)]
fn clip(value: f32, min: f32, max: f32) -> f32 {
    let value = if value < min { min } else { value };
    if value > max { max } else { value }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// eˣ, to 2 units in the last place; 0 below −87.3, infinity above 88.7. Without branches, so that loops of it become
/// vector instructions.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts.
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: a sum with it has no fraction
    let clipped = clip(x, -87.336_54, 88.722_84);
    let n = clipped.mul_add(std::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = n.mul_add(-0.693_359_4, clipped);
    let r = n.mul_add(2.121_944_4e-4, r);
    // Taylor's series to the seventh power: its error is below 6e-9 on this range.
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, c);
    }
    // 2ⁿ in two factors, as n reaches 128.
    let half = (n * 0.5 + ROUND) - ROUND;
    let power = |n: f32| f32::from_bits((((n + 127.0) as i32) << 23).cast_unsigned());
    let value = p * power(half) * power(n - half);
    let value = if x < -87.336_54 { 0.0 } else { value };
    let value = if x > 88.722_84 { f32::INFINITY } else { value };
    if x.is_nan() { x } else { value }
}

/// A function of each pixel of planes.
#[derive(Clone, Debug)]
pub struct Map {
    /// Layout of the planes that are read and written.
    pub layouts: [Layout; 2],
    /// The function.
    pub function: Function,
    /// Begin of the source and of the result for each plane, in the arena.
    pub planes: Vec<[u32; 2]>,
}

/// Pixels that are computed at a time.
const CHUNK: usize = 256;

impl Map {
    /// Computes.
    ///
    /// # Panics
    /// If a plane lies outside of the arena.
    pub fn run(&self, variant: Variant, arena: &mut [f32]) {
        launch(variant, MapRun { map: self, arena });
    }
}

struct MapRun<'a> {
    map: &'a Map,
    arena: &'a mut [f32],
}

impl Kernel for MapRun<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [from_layout, to_layout] = self.map.layouts;
        let Layout { rows, columns, .. } = to_layout;
        let mut chunk = [0.0; CHUNK];
        for &[from, to] in &self.map.planes {
            for y in 0..rows {
                let from = from as usize + y * from_layout.pitch;
                let to = to as usize + y * to_layout.pitch;
                for begin in (0..columns).step_by(CHUNK) {
                    let n = CHUNK.min(columns - begin);
                    chunk[..n].copy_from_slice(&self.arena[from + begin..][..n]);
                    self.map.function.apply(&mut chunk[..n]);
                    self.arena[to + begin..][..n].copy_from_slice(&chunk[..n]);
                }
            }
        }
    }
}

/// An operation on two pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pairwise {
    /// Their sum.
    Sum,
    /// Their product.
    Product,
}

/// Sums or products of planes, pixel by pixel.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// The operation.
    pub op: Pairwise,
    /// Layouts of the two operands and of the result. A size of 1 in an operand is broadcast.
    pub layouts: [Layout; 3],
    /// Begins of the two operands and of the result for each plane, in the arena.
    pub planes: Vec<[u32; 3]>,
}

impl Pairs {
    /// Computes.
    ///
    /// # Panics
    /// If a plane lies outside of the arena.
    pub fn run(&self, variant: Variant, arena: &mut [f32]) {
        launch(variant, PairsRun { pairs: self, arena });
    }
}

struct PairsRun<'a> {
    pairs: &'a Pairs,
    arena: &'a mut [f32],
}

impl Kernel for PairsRun<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [a, b, out] = self.pairs.layouts;
        let at = |layout: &Layout, begin: u32, y: usize| {
            begin as usize + if layout.rows == 1 { 0 } else { y * layout.pitch }
        };
        let (mut chunk, mut other) = ([0.0f32; CHUNK], [0.0f32; CHUNK]);
        for &[a_begin, b_begin, to] in &self.pairs.planes {
            for y in 0..out.rows {
                let (a_at, b_at) = (at(&a, a_begin, y), at(&b, b_begin, y));
                let to = to as usize + y * out.pitch;
                for begin in (0..out.columns).step_by(CHUNK) {
                    let n = CHUNK.min(out.columns - begin);
                    let (chunk, other) = (&mut chunk[..n], &mut other[..n]);
                    match a.columns {
                        1 => chunk.fill(self.arena[a_at]),
                        _ => chunk.copy_from_slice(&self.arena[a_at + begin..][..n]),
                    }
                    match b.columns {
                        1 => other.fill(self.arena[b_at]),
                        _ => other.copy_from_slice(&self.arena[b_at + begin..][..n]),
                    }
                    let pixels = chunk.iter_mut().zip(&*other);
                    match self.pairs.op {
                        Pairwise::Sum => pixels.for_each(|(v, b)| *v += b),
                        Pairwise::Product => pixels.for_each(|(v, b)| *v *= b),
                    }
                    self.arena[to + begin..][..n].copy_from_slice(chunk);
                }
            }
        }
    }
}

/// A copy of single pixels.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Where each pixel is read and written, in the arena.
    pub pixels: Vec<[u32; 2]>,
}

impl Gather {
    /// Copies.
    ///
    /// # Panics
    /// If a pixel lies outside of the arena.
    pub fn run(&self, arena: &mut [f32]) {
        self.pixels.iter().for_each(|&[from, to]| arena[to as usize] = arena[from as usize]);
    }
}

/// Softmax over groups of pixels that are anywhere.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// For each group, its pixels and where the results go, in the arena.
    pub groups: Vec<Vec<[u32; 2]>>,
}

impl Softmax {
    /// Computes.
    ///
    /// # Panics
    /// If a pixel lies outside of the arena.
    pub fn run(&self, arena: &mut [f32]) {
        for group in &self.groups {
            let largest = group.iter().map(|&[from, _]| arena[from as usize]);
            let largest = largest.fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for &[from, to] in group {
                let value = exp(arena[from as usize] - largest);
                arena[to as usize] = value;
                sum += value;
            }
            group.iter().for_each(|&[_, to]| arena[to as usize] /= sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for i in -90_000..90_000 {
            let x = i as f32 * 1e-3;
            let want = f64::from(x).exp();
            let got = f64::from(exp(x));
            if (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&want) {
                assert!((got - want).abs() <= want * 2.5e-7, "{x}: {got} {want}");
            } else {
                assert!(got == 0.0 || got.is_infinite() || got < 1.2e-38, "{x}: {got} {want}");
            }
        }
        assert!(exp(f32::NAN).is_nan());
        assert_eq!([exp(f32::INFINITY), exp(f32::NEG_INFINITY)], [f32::INFINITY, 0.0]);
        assert_eq!(exp(0.0), 1.0);
    }
}
