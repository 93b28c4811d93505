//! Mean and variance of each channel, computed while rows are in the cache.

use super::sums::{MOST_PARTS, MOST_VECTORS};
use crate::{
    lanes::{LANES, Lanes},
    simd::Simd,
    tree::Summand,
};

/// Number, mean and summed squared deviation of some values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Number of values.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub squares: f64,
}

impl Moments {
    /// The moments of both sets of values together.
    ///
    /// # References
    /// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances".
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * (other.count / count),
            squares: self.squares
                + other.squares
                + delta * delta * (self.count * other.count / count),
        }
    }

    /// The biased variance.
    pub fn variance(&self) -> f64 {
        self.squares / self.count
    }
}

/// One entry per channel.
impl Summand for Vec<Moments> {
    fn plus(mut self, other: Self) -> Self {
        self.iter_mut().zip(other).for_each(|(left, right)| *left = left.merge(right));
        self
    }
}

/// Sums of a channel's values, from which its moments follow.
#[derive(Clone, Debug)]
pub(crate) struct MomentSums {
    /// One of the values. Sums are those of deviations from it. If the mean is large, this value is nearer to the mean
    /// than 0 is.
    centre: f32,
    sum: Lanes,
    squares: Lanes,
    count: usize,
    vectors: usize,
    total: Moments,
}

impl MomentSums {
    pub(crate) const NONE: Self = Self {
        centre: 0.0,
        sum: Lanes::ZERO,
        squares: Lanes::ZERO,
        count: 0,
        vectors: 0,
        total: Moments { count: 0.0, mean: 0.0, squares: 0.0 },
    };

    /// Adds values: all lanes, or the `n_pixels` lanes that the bit mask `pixels` selects.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(crate) unsafe fn add<S: Simd>(
        &mut self,
        values: &[Lanes],
        pixels: Option<&[Lanes]>,
        n_pixels: usize,
    ) {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { self.add_sums::<S, _>(values, 0.0, pixels, n_pixels, ()) }
    }

    /// Adds values plus a bias, and stores them past the caches. Negative zeros become positive.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(crate) unsafe fn add_stored<S: Simd>(
        &mut self,
        values: &[Lanes],
        bias: f32,
        pixels: Option<&[Lanes]>,
        n_pixels: usize,
        to: &mut [Lanes],
    ) {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { self.add_sums::<S, _>(values, bias, pixels, n_pixels, to) }
    }

    #[inline(always)]
    unsafe fn add_sums<S: Simd, T: Storing>(
        &mut self,
        values: &[Lanes],
        bias: f32,
        pixels: Option<&[Lanes]>,
        n_pixels: usize,
        mut to: T,
    ) {
        let n = values.len();
        for (i, values) in values.chunks(MOST_VECTORS).enumerate() {
            if self.vectors == 0 {
                self.centre = values[0].0[0] + bias;
            }
            let first = i * MOST_VECTORS;
            let pixels = pixels.map(|pixels| &pixels[first..][..values.len()]);
            // SAFETY: the caller guarantees the instruction set.
            unsafe { self.add_run::<S, T>(values, bias, pixels, &mut to, first) };
            self.vectors += values.len();
            self.count += match pixels {
                None => values.len() * LANES,
                Some(_) if n == values.len() => n_pixels,
                Some(pixels) => {
                    let lanes = pixels.iter().flat_map(|p| p.0);
                    lanes.filter(|lane| lane.to_bits() != 0).count()
                }
            };
            if self.vectors >= MOST_VECTORS {
                self.settle();
            }
        }
    }

    #[inline(always)]
    unsafe fn add_run<S: Simd, T: Storing>(
        &mut self,
        values: &[Lanes],
        bias: f32,
        pixels: Option<&[Lanes]>,
        to: &mut T,
        first: usize,
    ) {
        let parts = LANES / S::WIDTH;
        // SAFETY: each vector has the floats of every part.
        unsafe {
            let (centre, bias) = (S::splat(self.centre), S::splat(bias));
            let (mut sum, mut squares) = ([S::splat(0.0); MOST_PARTS], [S::splat(0.0); MOST_PARTS]);
            for p in 0..parts {
                sum[p] = S::load(self.sum.0.as_ptr().add(p * S::WIDTH));
                squares[p] = S::load(self.squares.0.as_ptr().add(p * S::WIDTH));
            }
            for (i, values) in values.iter().enumerate() {
                for p in 0..parts {
                    let load = |lanes: &Lanes| S::load(lanes.0.as_ptr().add(p * S::WIDTH));
                    let value = S::add(load(values), bias);
                    let deviation = S::sub(value, centre);
                    let (value, deviation) = match pixels {
                        None => (value, deviation),
                        Some(pixels) => {
                            let keep = load(&pixels[i]);
                            (S::and(value, keep), S::and(deviation, keep))
                        }
                    };
                    to.put::<S>(first + i, p * S::WIDTH, value);
                    sum[p] = S::add(sum[p], deviation);
                    squares[p] = S::fma(deviation, deviation, squares[p]);
                }
            }
            for p in 0..parts {
                S::store(self.sum.0.as_mut_ptr().add(p * S::WIDTH), sum[p]);
                S::store(self.squares.0.as_mut_ptr().add(p * S::WIDTH), squares[p]);
            }
        }
    }

    fn settle(&mut self) {
        let count = self.count as f64;
        let shift = total(&self.sum.0) / count;
        let squares = total(&self.squares.0) - count * shift * shift;
        // Not by `max`, which would turn NaN into 0.
        let squares = if squares < 0.0 { 0.0 } else { squares };
        let found = Moments { count, mean: f64::from(self.centre) + shift, squares };
        *self = Self { total: self.total.merge(found), ..Self::NONE };
    }

    /// The moments of all values.
    pub(crate) fn moments(mut self) -> Moments {
        if self.vectors > 0 {
            self.settle();
        }
        self.total
    }
}

/// Where the summed values are stored.
trait Storing {
    /// Stores a value at a lane of a vector.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    unsafe fn put<S: Simd>(&mut self, vector: usize, lane: usize, value: S::V);
}

impl Storing for () {
    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, _: usize, _: usize, _: S::V) {}
}

impl Storing for &mut [Lanes] {
    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, vector: usize, lane: usize, value: S::V) {
        // SAFETY: the lanes lie within one vector, which is aligned.
        unsafe { S::store_past(self[vector].0.as_mut_ptr().add(lane), value) }
    }
}

/// The sum of the lanes, in halves.
#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f64 {
    let a: [f64; 8] = std::array::from_fn(|i| f64::from(lanes[i]) + f64::from(lanes[i + 8]));
    let b: [f64; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
    (b[0] + b[2]) + (b[1] + b[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Variant, launch};

    struct Add<'a> {
        values: &'a [Lanes],
        pixels: Option<&'a [Lanes]>,
        n: usize,
        sums: &'a mut MomentSums,
    }

    impl Kernel for Add<'_> {
        type Out = ();

        unsafe fn run<S: Simd>(self) {
            // SAFETY: guaranteed by the caller.
            unsafe { self.sums.add::<S>(self.values, self.pixels, self.n) }
        }
    }

    fn of(values: &[Lanes], filled: usize) -> Moments {
        let lane = |i: usize| f32::from_bits(if i < filled { u32::MAX } else { 0 });
        let pixels = vec![Lanes(std::array::from_fn(lane)); values.len()];
        let mut sums = MomentSums::NONE;
        let pixels = (filled < LANES).then_some(&pixels[..]);
        launch(Variant::Scalar, Add { values, pixels, n: filled * values.len(), sums: &mut sums });
        sums.moments()
    }

    fn plain(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum())
    }

    #[test]
    fn merged_rows_have_the_moments_of_all_values() {
        let row = |n: usize, f: f32| {
            let at = |i: usize| std::array::from_fn(|l| 100.0 + ((i * 16 + l) as f32 * f).sin());
            (0..n).map(|i| Lanes(at(i))).collect::<Vec<_>>()
        };
        let (a, b) = (row(7, 0.3), row(32, 1.7));
        let merged = Moments::default().merge(of(&a, 16)).merge(of(&b, 16));
        let all: Vec<f64> = a.iter().chain(&b).flat_map(|l| l.0.map(f64::from)).collect();
        let (mean, squares) = plain(&all);
        assert!((merged.mean - mean).abs() < 1e-6, "{} {mean}", merged.mean);
        assert!((merged.squares - squares).abs() < 1e-3, "{} {squares}", merged.squares);
        assert_eq!(merged.count, 39.0 * 16.0);
    }

    #[test]
    fn a_constant_has_no_variance_and_lanes_past_the_end_do_not_count() {
        let row = vec![Lanes(std::array::from_fn(|i| if i < 5 { 0.1 } else { 0.0 })); 9];
        let found = of(&row, 5);
        assert!((found.mean - f64::from(0.1f32)).abs() < 1e-9 && found.count == 45.0);
        assert!(found.variance() < 1e-15, "{}", found.variance());
    }

    #[test]
    fn non_finite_values_propagate() {
        assert!(of(&[Lanes([f32::NAN; 16])], 16).mean.is_nan());
        assert!(of(&[Lanes([f32::INFINITY; 16])], 16).variance().is_nan());
    }
}
