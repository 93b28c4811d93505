//! `significance.csv`: how many pruned weights were kept again.

use crate::rows::Row;
use serde::{Deserialize, Serialize};

/// A line of `significance.csv`: a group of pruned weights of similar magnitude and age in one run, and how many of
/// them were kept again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateRow {
    /// The step at which the weights were recorded.
    pub step: u64,
    /// The tenth of the threshold that contains their magnitude, counted from 0.
    pub decile: u64,
    /// The lower bound of the number of steps since the weights were pruned. The upper bound is less than twice the
    /// lower bound, except for 0 and for the oldest group, which has no upper bound.
    pub age: u64,
    /// Number of weights in the group.
    pub n_pruned: u64,
    /// Number of these weights that were kept in a later step.
    pub n_back: u64,
    /// Number of these weights that are kept at the end.
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
