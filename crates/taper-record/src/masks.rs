//! `masks.csv`: the changes of each mask update.

use crate::{number::text, rows::Row};
use serde::{Deserialize, Serialize};

/// A line of `masks.csv`: a step with a mask update.
///
/// The `told_*` fields are the change that the schedule received, over its window. They are empty in steps in which the
/// schedule received no change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskChange {
    /// The step.
    pub step: u64,
    /// Number of prunable weights.
    pub n_weights: u64,
    /// Kept weights before the update.
    pub n_before: u64,
    /// Kept weights after the update.
    pub n_kept: u64,
    /// Weights that are kept only after the update.
    pub n_entered: u64,
    /// Weights that were kept only before the update.
    pub n_left: u64,
    /// Mask churn: the fraction of kept weights that entered, `n_entered / n_kept`.
    #[serde(default, serialize_with = "text")]
    pub instability: f64,
    /// Kept weights at the start of the window.
    #[serde(default)]
    pub told_before: Option<u64>,
    /// Kept weights at the end of the window.
    #[serde(default)]
    pub told_kept: Option<u64>,
    /// Weights that are kept only at the end of the window.
    #[serde(default)]
    pub told_entered: Option<u64>,
    /// Weights that were kept only at the start of the window.
    #[serde(default)]
    pub told_left: Option<u64>,
}

impl Row for MaskChange {
    const COLUMNS: &'static [&'static str] = &[
        "step",
        "n_weights",
        "n_before",
        "n_kept",
        "n_entered",
        "n_left",
        "instability",
        "told_before",
        "told_kept",
        "told_entered",
        "told_left",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{check_columns, from_fields, line};

    #[test]
    fn missing_changes_over_the_window_are_empty() {
        let fields = ["5", "9", "8", "7", "1", "2", "0.25"];
        let change: MaskChange = from_fields(&fields).unwrap();
        assert_eq!(line(&change).unwrap(), "5,9,8,7,1,2,0.25,,,,");
        assert_eq!(
            line(&MaskChange { told_kept: Some(3), ..change }).unwrap(),
            "5,9,8,7,1,2,0.25,,3,,"
        );
        check_columns(&change);
    }
}
