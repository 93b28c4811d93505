//! `metrics.csv`: what each epoch came to.

use crate::{
    number::{nan, or_nan, text},
    rows::Row,
};
use serde::{Deserialize, Serialize};

/// A line of `metrics.csv`: what an epoch came to.
///
/// Fields that a file of an earlier version lacks are NaN, or 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Steps done by its end.
    pub step: u64,
    /// Learning rate of its last step.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub lr: f64,
    /// Sparsity that the schedule asked for in its last step.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub sparsity_target: f64,
    /// Sparsity from counts, after the refresh for evaluation.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub sparsity: f64,
    /// Kept weights, after the refresh for evaluation.
    #[serde(default)]
    pub n_kept: u64,
    /// Mean loss over the training images.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub train_loss: f64,
    /// Accuracy on the training images as they were trained on.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub train_accuracy: f64,
    /// Mean loss over the test images; NaN in an epoch without evaluation, and where validation images are held out.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub test_loss: f64,
    /// Accuracy on the test images; NaN likewise.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub test_accuracy: f64,
    /// Mean norm of the gradient before clipping, as exact training has it.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub grad_norm: f64,
    /// Mean share of that norm that is in dead filters: output channels of convolutions that have lost every weight.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub dead_grad_share: f64,
    /// Dead filters, after the refresh for evaluation.
    #[serde(default)]
    pub n_dead_filters: u64,
    /// Weights that were dropped for good by its end.
    #[serde(default)]
    pub n_dropped: u64,
    /// Mean number of the prunable weights that got a gradient.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub n_live: f64,
    /// Mean loss over the validation images; NaN in an epoch without evaluation, and where none are held out.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub validation_loss: f64,
    /// Accuracy on the validation images; NaN likewise.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub validation_accuracy: f64,
}

impl Row for EpochMetrics {
    const COLUMNS: &'static [&'static str] = &[
        "epoch",
        "step",
        "lr",
        "sparsity_target",
        "sparsity",
        "n_kept",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "grad_norm",
        "dead_grad_share",
        "n_dead_filters",
        "n_dropped",
        "n_live",
        "validation_loss",
        "validation_accuracy",
    ];
}

impl EpochMetrics {
    /// The accuracy that choices between epochs go by: on the validation images where some are held out, otherwise on the
    /// test images. NaN in an epoch without evaluation.
    pub fn choice_accuracy(&self) -> f64 {
        if self.validation_accuracy.is_nan() {
            self.test_accuracy
        } else {
            self.validation_accuracy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{check_columns, fields, from_fields, line};

    const FIELDS: [&str; 17] =
        ["0", "3", "0.1", "1", "0.5", "7", "1e300", "0.5", "", "", "1", "0", "0", "0", "7", "", ""];

    #[test]
    fn numbers_are_written_in_full_and_nan_is_empty() {
        let epoch: EpochMetrics = from_fields(&FIELDS).unwrap();
        assert!(epoch.test_loss.is_nan() && epoch.train_loss == 1e300);
        let text = line(&epoch).unwrap();
        assert!(text.starts_with("0,3,0.1,1,0.5,7,1000000"), "{text}");
        assert!(text.ends_with("000,0.5,,,1,0,0,0,7,,"), "{text}");
        check_columns(&epoch);
        let fine = EpochMetrics { lr: 0.1 + 0.2, train_loss: f64::MIN_POSITIVE, ..epoch };
        let texts = fields(&fine).unwrap();
        let back: EpochMetrics =
            from_fields(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert_eq!((back.lr, back.train_loss), (fine.lr, fine.train_loss), "to the bit");
    }

    #[test]
    fn earlier_versions_had_no_validation() {
        let epoch: EpochMetrics = from_fields(&FIELDS[..15]).unwrap();
        assert!(epoch.validation_loss.is_nan() && epoch.validation_accuracy.is_nan());
        assert_eq!(epoch.n_live, 7.0);
        assert_eq!(from_fields::<EpochMetrics>(&["0", "x"]), None);
    }

    #[test]
    fn choices_go_by_held_out_images_where_there_are_any() {
        let epoch: EpochMetrics = from_fields(&FIELDS).unwrap();
        let of = |test_accuracy: f64, validation_accuracy: f64| {
            EpochMetrics { test_accuracy, validation_accuracy, ..epoch }.choice_accuracy()
        };
        assert_eq!((of(0.25, f64::NAN), of(f64::NAN, 0.75)), (0.25, 0.75));
        assert!(of(f64::NAN, f64::NAN).is_nan());
    }
}
