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

    /// Of a row's pixels, of which `filled` lanes count and the others are zero.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(crate) unsafe fn of<S: Simd>(row: &[Lanes], filled: usize) -> Self {
        // Sums of deviations from one of the values, which is nearer to the mean than 0 is where that matters.
        let centre = row.first().map_or(0.0, |pixel| pixel.0[0]);
        let (mut sums, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: each pixel has the floats of every part.
            unsafe {
                let centre = S::splat(centre);
                let (mut sum, mut square) = (S::splat(0.0), S::splat(0.0));
                for pixel in row {
                    let deviation = S::sub(S::load(pixel.0.as_ptr().add(part)), centre);
                    sum = S::add(sum, deviation);
                    square = S::fma(deviation, deviation, square);
                }
                S::store(sums.as_mut_ptr().add(part), sum);
                S::store(squares.as_mut_ptr().add(part), square);
            }
        }
        for lane in filled..LANES {
            (sums[lane], squares[lane]) = (0.0, 0.0);
        }
        let count = (row.len() * filled) as f64;
        let shift = total(&sums) / count;
        let squares = total(&squares) - count * shift * shift;
        // Not by `max`, which would turn NaN into 0.
        let squares = if squares < 0.0 { 0.0 } else { squares };
        Self { count, mean: f64::from(centre) + shift, squares }
    }
}

/// Adds the moments of rows, in which channels alternate, to those of the channels.
pub(crate) struct OfRows<'a> {
    pub(crate) rows: &'a [Lanes],
    pub(crate) width: usize,
    pub(crate) filled: usize,
    pub(crate) moments: &'a mut [Moments],
}

impl Kernel for OfRows<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.moments.len();
        for (i, row) in self.rows.chunks_exact(self.width).enumerate() {
            // SAFETY: the caller vouches for the instructions.
            let found = unsafe { Moments::of::<S>(row, self.filled) };
            self.moments[i % n] = self.moments[i % n].merge(found);
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

    fn of(row: &[Lanes], filled: usize) -> Moments {
        let mut moments = [Moments::default()];
        let rows = OfRows { rows: row, width: row.len(), filled, moments: &mut moments };
        launch(Variant::Scalar, rows);
        moments[0]
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
        let mut row = vec![Lanes([0.1; 16]); 9];
        crate::lanes::clear_tail(&mut row, 5);
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
