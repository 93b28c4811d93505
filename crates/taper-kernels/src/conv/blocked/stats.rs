//! Statistics of a convolution's output, taken while it is in the cache.

use crate::lanes::{LANES, Lanes};

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
            squares: self.squares + other.squares + delta * delta * (self.count * other.count / count),
        }
    }

    /// The biased variance.
    pub fn variance(&self) -> f64 {
        self.squares / self.count
    }

    /// Of a row's pixels, of which `filled` lanes count.
    #[inline(always)]
    pub(crate) fn of(row: &[Lanes], filled: usize) -> Self {
        let mut sums = [0.0f32; LANES];
        for pixel in row {
            for (sum, value) in sums.iter_mut().zip(pixel.0) {
                *sum += value;
            }
        }
        let count = (row.len() * filled) as f64;
        // Lanes past the end of the batch are zero.
        let mean = sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() / count;
        let centre = mean as f32;
        let (mut squares, mut rest) = ([0.0f32; LANES], [0.0f32; LANES]);
        for pixel in row {
            for ((square, rest), value) in squares.iter_mut().zip(&mut rest).zip(pixel.0) {
                let deviation = value - centre;
                *rest += deviation;
                *square += deviation * deviation;
            }
        }
        let total = |sums: &[f32; LANES]| sums[..filled].iter().map(|&sum| f64::from(sum)).sum::<f64>();
        // The centre is the mean but for its rounding, which the deviations tell.
        let shift = total(&rest) / count;
        let squares = total(&squares) - count * shift * shift;
        // Not by `max`, which would turn NaN into 0.
        let squares = if squares < 0.0 { 0.0 } else { squares };
        Self { count, mean: f64::from(centre) + shift, squares }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let merged = Moments::default().merge(Moments::of(&a, 16)).merge(Moments::of(&b, 16));
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
        let found = Moments::of(&row, 5);
        assert!((found.mean - f64::from(0.1f32)).abs() < 1e-9 && found.count == 45.0);
        assert!(found.variance() < 1e-15, "{}", found.variance());
    }

    #[test]
    fn what_is_not_finite_shows() {
        assert!(Moments::of(&[Lanes([f32::NAN; 16])], 16).mean.is_nan());
        assert!(Moments::of(&[Lanes([f32::INFINITY; 16])], 16).variance().is_nan());
    }
}
