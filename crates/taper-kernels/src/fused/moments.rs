//! Mean and variance of each channel, taken while rows are in the cache.

use crate::{
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd},
};

/// Number, mean and summed squared deviation of some values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// How many values.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub squares: f64,
}

impl Moments {
    /// Of both sets of values together.
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

    /// Of each channel, from the moments of parts of it, which are merged in order.
    pub(crate) fn merge_all(
        channels: usize,
        parts: impl IntoIterator<Item = Vec<Self>>,
    ) -> Vec<Self> {
        let mut totals = vec![Self::default(); channels];
        for part in parts {
            for (total, part) in totals.iter_mut().zip(part) {
                *total = total.merge(part);
            }
        }
        totals
    }

    /// The biased variance.
    pub fn variance(&self) -> f64 {
        self.squares / self.count
    }
}

/// Vectors after which sums in single precision are added to the moments.
const MOST_VECTORS: usize = 256;

/// Sums of a channel's values, from which its moments follow.
#[derive(Clone, Debug)]
pub(crate) struct MomentSums {
    /// One of the values, which is nearer to the mean than 0 is where that matters: sums are those of deviations from it.
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

    /// Adds values: all lanes, or those of which `pixels` has all bits; `n_pixels` in all.
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
        let n = values.len();
        for (i, values) in values.chunks(MOST_VECTORS).enumerate() {
            if self.vectors == 0 {
                self.centre = values[0].0[0];
            }
            let pixels = pixels.map(|pixels| &pixels[i * MOST_VECTORS..][..values.len()]);
            let run = MomentRun { values, pixels, sums: self };
            // SAFETY: the caller vouches for the instructions.
            unsafe { run.run::<S>() };
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

struct MomentRun<'a> {
    values: &'a [Lanes],
    pixels: Option<&'a [Lanes]>,
    sums: &'a mut MomentSums,
}

impl Kernel for MomentRun<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { values, pixels, sums } = self;
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: each vector has the floats of every part.
            unsafe {
                let centre = S::splat(sums.centre);
                let to = [&mut sums.sum, &mut sums.squares].map(|to| to.0.as_mut_ptr().add(part));
                let (mut sum, mut squares) = (S::load(to[0]), S::load(to[1]));
                let load = |lanes: &Lanes| S::load(lanes.0.as_ptr().add(part));
                match pixels {
                    None => {
                        for values in values {
                            let deviation = S::sub(load(values), centre);
                            sum = S::add(sum, deviation);
                            squares = S::fma(deviation, deviation, squares);
                        }
                    }
                    Some(pixels) => {
                        for (values, pixels) in values.iter().zip(pixels) {
                            let deviation = S::and(S::sub(load(values), centre), load(pixels));
                            sum = S::add(sum, deviation);
                            squares = S::fma(deviation, deviation, squares);
                        }
                    }
                }
                S::store(to[0], sum);
                S::store(to[1], squares);
            }
        }
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
    use crate::simd::{Variant, launch};

    struct Add<'a> {
        values: &'a [Lanes],
        pixels: Option<&'a [Lanes]>,
        n: usize,
        sums: &'a mut MomentSums,
    }

    impl Kernel for Add<'_> {
        type Out = ();

        unsafe fn run<S: Simd>(self) {
            // SAFETY: as the caller vouches.
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
    fn what_is_not_finite_shows() {
        assert!(of(&[Lanes([f32::NAN; 16])], 16).mean.is_nan());
        assert!(of(&[Lanes([f32::INFINITY; 16])], 16).variance().is_nan());
    }
}
