//! `masks.csv`: what each refresh of the masks changed.

use crate::{number::text, rows::Row};
use serde::{Deserialize, Serialize};

/// A line of `masks.csv`: a step that has chosen masks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskChange {
    /// The step.
    pub step: u64,
    /// Prunable weights.
    pub n_weights: u64,
    /// Weights that were kept before.
    pub n_before: u64,
    /// Weights that are kept now.
    pub n_kept: u64,
    /// Those that were not kept before.
    pub n_entered: u64,
    /// Weights that were kept before and are not now.
    pub n_left: u64,
    /// Share of the kept weights that entered or left.
    #[serde(default, serialize_with = "text")]
    pub instability: f64,
    /// What the schedule was told over its window, where it was told anything: weights that were kept before,
    #[serde(default)]
    pub told_before: Option<u64>,
    /// that are kept now,
    #[serde(default)]
    pub told_kept: Option<u64>,
    /// that entered,
    #[serde(default)]
    pub told_entered: Option<u64>,
    /// and that left.
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
    fn what_the_schedule_was_not_told_is_empty() {
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
