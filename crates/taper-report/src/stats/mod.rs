//! Mean, standard deviation and quantiles of measurements, and differences with their intervals.

mod difference;
mod pooled;

pub use difference::Difference;
pub use pooled::Pooled;

/// Mean and standard deviation of `n` values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Number of values, at least 1.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n − 1 in the denominator); `None` for a single value.
    pub deviation: Option<f64>,
}

impl Summary {
    /// Summarises the values; `None` when there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len();
        if n == 0 {
            return None;
        }
        // Rounding would give equal values a deviation above 0, and differences between them an interval.
        if values.iter().all(|v| *v == values[0]) {
            return Some(Self { n, mean: values[0], deviation: (n > 1).then_some(0.0) });
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        // Two passes: in a single pass, rounding would swamp the deviation of accuracies near 1.
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        let deviation = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { n, mean, deviation })
    }
}

/// The median: the middle value, or the mean of the two middle values; NaN without values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 0 => (values[half - 1] + values[half]) / 2.0,
        _ => values[half],
    }
}

/// The quantile by nearest rank: the smallest value v for which at least a fraction `q` of the values is ≤ v. NaN
/// without values.
///
/// `q` is in `[0, 1]`; 0 gives the smallest value, 1 the largest.
pub fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    let last = values.len().saturating_sub(1);
    values.get(rank.saturating_sub(1).min(last)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_by_n_minus_one() {
        let s = Summary::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).expect("values");
        assert_eq!((s.n, s.mean), (8, 5.0));
        assert!((s.deviation.expect("several") - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn equal_values_have_no_deviation() {
        let value = 300.0 / 355.0;
        assert_ne!((value + value + value) / 3.0, value, "rounding");
        let summary = Summary::of([value; 3]).expect("values");
        assert_eq!((summary.mean, summary.deviation), (value, Some(0.0)));
    }

    #[test]
    fn one_value_has_no_deviation_and_none_no_summary() {
        assert_eq!(Summary::of([0.5]), Some(Summary { n: 1, mean: 0.5, deviation: None }));
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let hundred = || (1..=100).rev().map(f64::from).collect::<Vec<_>>();
        for (q, value) in [(0.0, 1.0), (0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)] {
            assert_eq!(quantile(hundred(), q), value, "{q}");
        }
        assert_eq!(quantile(vec![3.0, 1.0, 2.0], 0.99), 3.0);
        assert!(quantile(Vec::new(), 0.5).is_nan());
    }

    #[test]
    fn a_small_spread_around_a_large_mean_survives() {
        let s = Summary::of([1e8 + 1.0, 1e8 + 2.0, 1e8 + 3.0]).expect("values");
        assert_eq!(s.deviation, Some(1.0));
    }
}
