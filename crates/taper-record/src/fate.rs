//! `significance.csv`: what became of pruned weights.

use crate::rows::Row;
use serde::{Deserialize, Serialize};

/// A line of `significance.csv`: what became of pruned weights that were alike, in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateRow {
    /// The step from which they were followed.
    pub step: u64,
    /// Tenth of the cut that their magnitude was in, from 0.
    pub decile: u64,
    /// The least number of steps for which they had been pruned; the most is less than twice that, but for 0, and for the
    /// oldest, which is open.
    pub age: u64,
    /// How many they were.
    pub n_pruned: u64,
    /// How many of them were kept in a later step.
    pub n_back: u64,
    /// How many of them are kept at the end.
    pub n_kept: u64,
}

impl Row for FateRow {
    const COLUMNS: &'static [&'static str] =
        &["step", "decile", "age", "n_pruned", "n_back", "n_kept"];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{check_columns, line};

    #[test]
    fn a_line_has_the_columns_of_the_header() {
        let fate = FateRow { step: 5, decile: 9, age: 1, n_pruned: 10, n_back: 2, n_kept: 1 };
        check_columns(&fate);
        assert_eq!(line(&fate).unwrap(), "5,9,1,10,2,1");
    }
}
