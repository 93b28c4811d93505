//! A standard deviation that several groups share.

use super::Difference;
use super::difference::mean_and_error;

/// The standard deviation of one measurement, estimated from several groups that share it.
///
/// s² = Σ (nᵢ − 1)·s²ᵢ / Σ (nᵢ − 1), the variance within groups of an analysis of variance. With few values in a group,
/// it is much more accurate than the deviation of the group. It is wrong if the deviations of groups really differ.
///
/// # References
/// R. A. Fisher, *Statistical Methods for Research Workers* (1925), chapter VII.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pooled {
    /// Standard deviation of one measurement.
    pub deviation: f64,
    /// Degrees of freedom, Σ (nᵢ − 1), at least 1.
    pub freedom: usize,
}

impl Pooled {
    /// The deviation within the groups; `None` if each has at most one value. Groups with values that are not finite
    /// are left out.
    ///
    /// ```
    /// use taper_report::stats::Pooled;
    ///
    /// let pooled = Pooled::of([vec![0.50, 0.52], vec![0.60, 0.61, 0.62], vec![0.7]]).expect("two groups");
    /// assert_eq!(pooled.freedom, 3);
    /// assert!((pooled.deviation - ((0.0002 + 0.0002) / 3f64).sqrt()).abs() < 1e-12);
    /// ```
    pub fn of<G: AsRef<[f64]>>(groups: impl IntoIterator<Item = G>) -> Option<Self> {
        let (mut squares, mut freedom) = (0.0, 0);
        for group in groups {
            let values = group.as_ref();
            let summary = super::Summary::of(values.iter().copied());
            let deviation = summary.and_then(|summary| summary.deviation);
            if let Some(deviation) = deviation.filter(|deviation| deviation.is_finite()) {
                squares += (values.len() - 1) as f64 * deviation * deviation;
                freedom += values.len() - 1;
            }
        }
        (freedom > 0).then(|| Self { deviation: (squares / freedom as f64).sqrt(), freedom })
    }

    /// The difference of two groups that have this deviation: mean(a) − mean(b) ± t(ν)·s·√(1/n(a) + 1/n(b)), with ν
    /// degrees of freedom. `None` if a group is empty, or a mean is not finite.
    pub fn difference(&self, first: &[f64], second: &[f64]) -> Option<Difference> {
        let ((a, _), (b, _)) = (mean_and_error(first)?, mean_and_error(second)?);
        let error = self.deviation * (1.0 / first.len() as f64 + 1.0 / second.len() as f64).sqrt();
        Difference::of(a - b, Some((error, self.freedom as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: [f64; 6] = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9];
    const B: [f64; 4] = [27.1, 22.0, 20.8, 23.4];

    #[test]
    fn groups_with_a_pooled_deviation_have_students_interval() {
        // scipy.stats.ttest_ind(a, b, equal_var=True).confidence_interval(), scipy 1.17.
        let pooled = Pooled::of([&A[..], &B[..]]).expect("values");
        let [low, high] =
            pooled.difference(&A, &B).and_then(|d| d.interval()).expect("an interval");
        assert!((low + 7.614155).abs() < 1e-5 && (high - 2.964155).abs() < 1e-5, "{low} {high}");

        let alone = pooled.difference(&A[..1], &B[..1]).expect("values");
        let both = pooled.difference(&A[..2], &B[..2]).expect("values");
        let ratio = alone.half_width.expect("known") / both.half_width.expect("known");
        assert!((ratio - 2f64.sqrt()).abs() < 1e-12, "one value has the deviation of the others");
        assert_eq!(pooled.difference(&[], &B), None);
        assert_eq!(pooled.difference(&[f64::NAN], &B), None);
    }

    #[test]
    fn a_pooled_deviation_needs_a_group_of_two() {
        assert_eq!(Pooled::of([[0.5], [0.25]]), None);
        let with_nan = Pooled::of([vec![0.5, f64::NAN], vec![0.25, 0.75]]).expect("a group");
        assert_eq!(Some(with_nan), Pooled::of([[0.25, 0.75]]));
    }

    proptest! {
        #[test]
        fn groups_of_equal_deviation_have_nearly_the_same_interval_either_way(
            values in proptest::collection::vec(-1.0..1.0f64, 3..9), gain in -1.0..1.0f64,
        ) {
            let moved: Vec<f64> = values.iter().map(|value| value + gain).collect();
            let apart = Difference::welch(&moved, &values).expect("values");
            let pooled = Pooled::of([&moved, &values]).expect("values");
            prop_assert_eq!(pooled.freedom, 2 * values.len() - 2);
            let together = pooled.difference(&moved, &values).expect("values");
            prop_assert!((apart.mean - gain).abs() < 1e-12 && (together.mean - gain).abs() < 1e-12);
            let (a, b) = (apart.half_width.expect("known"), together.half_width.expect("known"));
            prop_assert!((a - b).abs() < 1e-9 * (1.0 + a), "{} {}", a, b);
        }
    }
}
