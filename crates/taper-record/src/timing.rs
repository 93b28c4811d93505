//! `timing.csv`: the duration of each epoch.

use crate::rows::Row;
use serde::{Deserialize, Serialize, Serializer};

/// A line of `timing.csv`: the duration of an epoch. Times differ between runs, so this file is not reproducible. For a
/// resumed epoch, the line covers only the steps since resuming.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochTime {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// Seconds of training, evaluation and checkpoints, written with three decimals.
    #[serde(serialize_with = "decimals::<3, _>")]
    pub seconds: f64,
    /// Training images per second of training, written with one decimal.
    #[serde(serialize_with = "decimals::<1, _>")]
    pub images_per_second: f64,
}

fn decimals<const N: usize, S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:.N$}"))
}

impl Row for EpochTime {
    const COLUMNS: &'static [&'static str] = &["epoch", "seconds", "images_per_second"];
}

impl EpochTime {
    /// The total seconds of all epochs, and the median of their images per second; 0 without epochs. An epoch without a
    /// training step, because the run was resumed after the last one, has no rate.
    pub fn totals(epochs: &[Self]) -> (f64, f64) {
        let mut rates: Vec<f64> =
            epochs.iter().map(|epoch| epoch.images_per_second).filter(|&rate| rate > 0.0).collect();
        rates.sort_by(f64::total_cmp);
        let median = match rates.len() {
            0 => 0.0,
            n => (rates[(n - 1) / 2] + rates[n / 2]) / 2.0,
        };
        (epochs.iter().map(|epoch| epoch.seconds).sum(), median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{check_columns, line};

    #[test]
    fn times_have_few_decimals_and_are_combined() {
        let epoch = |seconds, images_per_second| EpochTime { epoch: 3, seconds, images_per_second };
        assert_eq!(line(&epoch(2.0, 1.0 / 3.0)).unwrap(), "3,2.000,0.3");
        check_columns(&epoch(1.0, 1.0));
        let epochs = [epoch(1.0, 9.0), epoch(2.0, 1.0), epoch(4.0, 5.0)];
        assert_eq!(EpochTime::totals(&epochs), (7.0, 5.0));
        assert_eq!(EpochTime::totals(&epochs[1..]), (6.0, 3.0));
        assert_eq!(EpochTime::totals(&[]), (0.0, 0.0));
        let resumed = [epoch(1.0, 0.0), epoch(2.0, 5.0), epoch(4.0, 7.0)];
        assert_eq!(EpochTime::totals(&resumed), (7.0, 6.0));
    }
}
