//! Functions of single pixels, sums and products of planes, and softmax. Denormal results become 0.

use super::layout::Layout;
use crate::{
    Variant,
    simd::{Kernel, Simd, flush, launch},
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
            Self::Sigmoid => values.iter_mut().for_each(|v| *v = flush(sigmoid(*v))),
            Self::Silu => values.iter_mut().for_each(|v| *v = flush(*v * sigmoid(*v))),
            Self::HardSigmoid { alpha, beta } => {
                values.iter_mut().for_each(|v| *v = flush(clip(alpha.mul_add(*v, beta), 0.0, 1.0)));
            }
            Self::HardSwish => {
                let sixth = 1.0 / 6.0;
                // The factor first: `6 · v` can be infinite.
                let value = |v: f32| flush(v * (clip(v + 3.0, 0.0, 6.0) * sixth));
                values.iter_mut().for_each(|v| *v = value(*v));
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

/// eˣ, with an error of at most 2 units in the last place; 0 below −87.3, infinity above 88.7. It has no branches, so
/// the compiler can vectorise loops of it.
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
    /// Where the source and the result of each plane begin in the arena.
    pub planes: Vec<[u32; 2]>,
}

/// Pixels that are computed at a time.
const CHUNK: usize = 256;

impl Map {
    /// Applies the function.
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
    /// Where the two operands and the result of each plane begin in the arena.
    pub planes: Vec<[u32; 3]>,
}

impl Pairs {
    /// Computes the results.
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
                        Pairwise::Sum => pixels.for_each(|(v, b)| *v = flush(*v + b)),
                        Pairwise::Product => pixels.for_each(|(v, b)| *v = flush(*v * b)),
                    }
                    self.arena[to + begin..][..n].copy_from_slice(chunk);
                }
            }
        }
    }
}

/// A copy of single pixels.
#[derive(Clone, Debug)]
pub struct PixelCopy {
    /// Where each pixel is read and where it is written, in the arena.
    pub pixels: Vec<[u32; 2]>,
}

impl PixelCopy {
    /// Copies the pixels.
    ///
    /// # Panics
    /// If a pixel lies outside of the arena.
    pub fn run(&self, arena: &mut [f32]) {
        self.pixels.iter().for_each(|&[from, to]| arena[to as usize] = arena[from as usize]);
    }
}

/// Softmax over groups of pixels, which may lie anywhere.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// For each group, the places of its pixels and of their results in the arena.
    pub groups: Vec<Vec<[u32; 2]>>,
}

impl Softmax {
    /// Computes the results.
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
            for &[_, to] in group {
                arena[to as usize] = flush(arena[to as usize] / sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::testing::Numbers;

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

    fn layout(rows: usize, columns: usize, pitch: usize) -> Layout {
        Layout { rows, columns, pitch, halo: 0, lanes: 1 }
    }

    #[track_caller]
    fn same(got: f32, want: f64) {
        let is_same = f64::from(got) == want || got.is_nan() && want.is_nan();
        assert!(
            is_same || (f64::from(got) - want).abs() <= 1e-6 * want.abs().max(1.0),
            "{got} {want}"
        );
    }

    #[test]
    fn functions_of_pixels_are_their_definition() {
        let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        let clip = |x: f64, most: f64| if x.is_nan() { x } else { x.clamp(0.0, most) };
        let functions: [(Function, &dyn Fn(f64) -> f64); 4] = [
            (Function::Sigmoid, &sigmoid),
            (Function::Silu, &|x| x * sigmoid(x)),
            (Function::HardSigmoid { alpha: 0.25, beta: 0.5 }, &|x| clip(0.25 * x + 0.5, 1.0)),
            (Function::HardSwish, &|x| x * clip(x + 3.0, 6.0) / 6.0),
        ];
        let mut numbers = Numbers(1);
        for variant in Variant::available() {
            for (function, definition) in functions {
                for (rows, columns) in [(1, 1), (3, 5), (2, 16), (2, 256), (1, 257), (2, 700)] {
                    let layouts =
                        [layout(rows, columns, columns + 1), layout(rows, columns, columns + 4)];
                    let n = rows * layouts[0].pitch;
                    let mut arena: Vec<f32> =
                        numbers.many(n + rows * layouts[1].pitch).iter().map(|v| 9.0 * v).collect();
                    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 3e38];
                    let n_special = columns.min(special.len());
                    arena[..n_special].copy_from_slice(&special[..n_special]);
                    let before = arena.clone();
                    Map { layouts, function, planes: vec![[0, n as u32]] }.run(variant, &mut arena);
                    for y in 0..rows {
                        for x in 0..columns {
                            let pixel = f64::from(before[y * layouts[0].pitch + x]);
                            same(arena[n + y * layouts[1].pitch + x], definition(pixel));
                        }
                        let behind = n + y * layouts[1].pitch + columns;
                        assert_eq!(arena[behind..behind + 4], before[behind..behind + 4]);
                    }
                }
            }
        }
    }

    #[test]
    fn pairs_are_broadcast() {
        let mut numbers = Numbers(2);
        for variant in Variant::available() {
            for (rows, columns) in [(1, 1), (3, 5), (2, 300)] {
                let sizes = [(rows, columns), (1, columns), (rows, 1), (1, 1)];
                for (a, b) in sizes.iter().flat_map(|&a| sizes.map(|b| (a, b))) {
                    if a.0.max(b.0) != rows || a.1.max(b.1) != columns {
                        continue;
                    }
                    let layouts = [a, b, (rows, columns)]
                        .map(|(rows, columns)| layout(rows, columns, columns + 2));
                    let size = |i: usize| layouts[i].rows * layouts[i].pitch;
                    let begins = [0, size(0), size(0) + size(1)];
                    for op in [Pairwise::Sum, Pairwise::Product] {
                        let mut arena = numbers.many(begins[2] + size(2));
                        let planes = vec![begins.map(|at| at as u32)];
                        Pairs { op, layouts, planes }.run(variant, &mut arena);
                        for y in 0..rows {
                            for x in 0..columns {
                                let of = |i: usize| {
                                    let Layout { rows, columns, pitch, .. } = layouts[i];
                                    arena[begins[i] + y.min(rows - 1) * pitch + x.min(columns - 1)]
                                };
                                let want = match op {
                                    Pairwise::Sum => of(0) + of(1),
                                    Pairwise::Product => of(0) * of(1),
                                };
                                assert_eq!(of(2), want);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn pixels_are_gathered() {
        let mut arena = [1.0, 2.0, 3.0, 0.0, 0.0];
        PixelCopy { pixels: vec![[2, 3], [0, 4], [1, 0]] }.run(&mut arena);
        assert_eq!(arena, [2.0, 2.0, 3.0, 3.0, 1.0]);
    }

    #[test]
    fn softmax_is_that_of_each_group() {
        let mut numbers = Numbers(3);
        for n in [1, 2, 7, 100] {
            let mut arena: Vec<f32> = numbers.many(4 * n).iter().map(|v| 200.0 * v).collect();
            // Two groups with alternating pixels.
            let group = |first: usize| {
                (0..n)
                    .map(move |i| [(2 * i + first) as u32, (2 * (n + i) + first) as u32])
                    .collect()
            };
            let before = arena.clone();
            Softmax { groups: vec![group(0), group(1)] }.run(&mut arena);
            for first in 0..2 {
                let values: Vec<f64> = (0..n).map(|i| f64::from(before[2 * i + first])).collect();
                let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = values.iter().map(|v| libm::exp(v - largest)).sum();
                for (i, value) in values.iter().enumerate() {
                    same(arena[2 * (n + i) + first], libm::exp(value - largest) / sum);
                }
            }
        }
        let mut arena = [f32::NAN, 1.0, 0.0, 0.0];
        Softmax { groups: vec![vec![[0, 2], [1, 3]]] }.run(&mut arena);
        assert!(arena[2].is_nan() && arena[3].is_nan());
    }

    #[test]
    fn planes_outside_of_the_arena_are_refused() {
        let same = layout(1, 4, 4);
        let map = Map { layouts: [same; 2], function: Function::Silu, planes: vec![[0, 5]] };
        let pairs = Pairs { op: Pairwise::Sum, layouts: [same; 3], planes: vec![[0, 5, 0]] };
        let refused = |run: &dyn Fn(&mut [f32])| {
            let run = std::panic::AssertUnwindSafe(|| run(&mut [0.0; 8]));
            assert!(std::panic::catch_unwind(run).is_err());
        };
        refused(&|arena| map.run(Variant::Scalar, arena));
        refused(&|arena| pairs.run(Variant::Scalar, arena));
        refused(&|arena| PixelCopy { pixels: vec![[8, 0]] }.run(arena));
        refused(&|arena| Softmax { groups: vec![vec![[0, 8]]] }.run(arena));
    }
}
