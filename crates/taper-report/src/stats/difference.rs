//! The difference of two groups of measurements, and its confidence interval.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The difference of two means, with its 95 % confidence interval.
///
/// Groups with a deviation of their own have Welch's interval, mean(a) − mean(b) ± t(ν)·√(s²(a)/n(a) + s²(b)/n(b)), with
/// ν by Welch and Satterthwaite. t(ν) is the 97.5 % quantile of Student's t with ν degrees of freedom, and s is the
/// sample standard deviation. For a deviation that groups share, see [`super::Pooled::difference`].
///
/// Groups are not paired by seed: accuracies of two methods with the same seed are hardly correlated (−0.2 to 0.1 in
/// our suites of complete runs), and pairs would cost half of the degrees of freedom.
///
/// # References
/// B. L. Welch, *The generalization of "Student's" problem when several different population variances are involved*,
/// Biometrika 34 (1947).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean of the first group minus mean of the second.
    pub mean: f64,
    /// Half the width of the interval; `None` if a deviation is unknown, as that of a single value. Groups of equal
    /// values have no interval either: few values on a coarse scale are often equal by chance.
    pub half_width: Option<f64>,
}

impl Difference {
    /// The difference of two groups with different deviations; `None` if one is empty, or a mean is not finite.
    pub fn welch(first: &[f64], second: &[f64]) -> Option<Self> {
        let ((a, a_error), (b, b_error)) = (mean_and_error(first)?, mean_and_error(second)?);
        let spread = a_error.zip(b_error).map(|(a, b)| {
            let of = |error: f64, n: usize| error * error * error * error / (n as f64 - 1.0);
            let variance = a * a + b * b;
            let freedom = variance * variance / (of(a, first.len()) + of(b, second.len()));
            (variance.sqrt(), freedom)
        });
        Self::of(a - b, spread)
    }

    /// From the standard error of the mean and its degrees of freedom.
    pub(super) fn of(mean: f64, spread: Option<(f64, f64)>) -> Option<Self> {
        let half_width = match spread.filter(|&(error, _)| error > 0.0) {
            Some((error, freedom)) => Some(error * quantile(freedom)?),
            None => None,
        };
        mean.is_finite().then_some(Self { mean, half_width })
    }

    /// The ends of the interval.
    pub fn interval(&self) -> Option<[f64; 2]> {
        self.half_width.map(|half| [self.mean - half, self.mean + half])
    }

    /// Whether the interval is above 0 (`Greater`), below 0 (`Less`), or contains 0 (`Equal`). Without an interval, it
    /// is `Equal`.
    pub fn verdict(&self) -> std::cmp::Ordering {
        match self.interval() {
            Some([low, _]) if low > 0.0 => std::cmp::Ordering::Greater,
            Some([_, high]) if high < 0.0 => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Equal,
        }
    }
}

/// Mean and its standard error, which needs at least two values.
pub(super) fn mean_and_error(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let summary = super::Summary::of(values.iter().copied())?;
    let error = summary.deviation.map(|deviation| deviation / (summary.n as f64).sqrt());
    summary.mean.is_finite().then_some((summary.mean, error))
}

/// The 97.5 % quantile of Student's t.
fn quantile(freedom: f64) -> Option<f64> {
    Some(StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let table =
            [(1.0, 12.706205), (2.0, 4.302653), (3.0, 3.182446), (4.0, 2.776445), (30.0, 2.042272)];
        for (freedom, t) in table {
            let found = quantile(freedom).expect("a quantile");
            assert!((found - t).abs() < 1e-5, "{freedom}: {found}");
        }
        assert_eq!(quantile(f64::NAN), None);
    }

    #[test]
    fn groups_with_deviations_of_their_own_have_welchs_interval() {
        // scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(), scipy 1.17.
        let (a, b) = ([27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4]);
        let d = Difference::welch(&a, &b).expect("values");
        let [low, high] = d.interval().expect("an interval");
        assert!((low + 7.215377).abs() < 1e-5 && (high - 2.565377).abs() < 1e-5, "{low} {high}");
        assert_eq!(d.verdict(), Ordering::Equal);
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_difference() {
        let alone = Difference::welch(&[1.0], &[0.5, 0.25]).expect("values");
        assert_eq!((alone.mean, alone.half_width), (0.625, None));
        assert_eq!(alone.verdict(), Ordering::Equal);
        assert_eq!(Difference::welch(&[], &[1.0]), None);
        assert_eq!(Difference::welch(&[f64::NAN, 1.0], &[1.0, 1.0]), None);
    }

    #[test]
    fn groups_of_equal_values_have_no_interval() {
        let same = Difference::welch(&[0.75, 0.75], &[0.5, 0.5]).expect("values");
        assert_eq!((same.half_width, same.verdict()), (None, Ordering::Equal));
        let one = Difference::welch(&[0.75, 0.75], &[0.5, 0.25]).expect("values");
        assert!(one.half_width.is_some(), "one deviation is known and not 0");
    }
}
