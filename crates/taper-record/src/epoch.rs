//! `metrics.csv`: the metrics of each epoch.

use crate::{
    number::{nan, or_nan, text},
    rows::Row,
};
use serde::{Deserialize, Serialize};

/// A line of `metrics.csv`: the metrics of an epoch.
///
/// Fields that an earlier version did not write are NaN, or 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// Number of completed steps at its end.
    pub step: u64,
    /// Learning rate of its last step.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub lr: f64,
    /// Sparsity of the schedule in its last step.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub sparsity_target: f64,
    /// Sparsity from counts, after the mask update for evaluation.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub sparsity: f64,
    /// Kept weights, after the mask update for evaluation.
    #[serde(default)]
    pub n_kept: u64,
    /// Mean loss over the training images.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub train_loss: f64,
    /// Accuracy on the training batches, measured during training.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub train_accuracy: f64,
    /// Mean loss over the test images; NaN in an epoch without evaluation, or if validation images are held out.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub test_loss: f64,
    /// Accuracy on the test images; NaN in the same cases.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub test_accuracy: f64,
    /// Mean norm of the gradient before clipping; an estimate of its value in exact training.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub grad_norm: f64,
    /// Mean fraction of that norm in dead filters: output channels of convolutions without kept weights.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub dead_grad_share: f64,
    /// Dead filters, after the mask update for evaluation.
    #[serde(default)]
    pub n_dead_filters: u64,
    /// Permanently pruned weights at its end.
    #[serde(default)]
    pub n_dropped: u64,
    /// Mean number of prunable weights with a gradient (the live set).
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub n_live: f64,
    /// Mean loss over the validation images; NaN in an epoch without evaluation, or if no images are held out.
    #[serde(default = "nan", serialize_with = "text", deserialize_with = "or_nan")]
    pub validation_loss: f64,
    /// Accuracy on the validation images; NaN in the same cases.
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
    /// The accuracy for choices between epochs: on the validation images if some are held out, otherwise on the test
    /// images. NaN in an epoch without evaluation.
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
    fn rows_without_validation_columns_are_read() {
        let epoch: EpochMetrics = from_fields(&FIELDS[..15]).unwrap();
        assert!(epoch.validation_loss.is_nan() && epoch.validation_accuracy.is_nan());
        assert_eq!(epoch.n_live, 7.0);
        assert_eq!(from_fields::<EpochMetrics>(&["0", "x"]), None);
    }

    #[test]
    fn choices_use_held_out_images_if_there_are_any() {
        let epoch: EpochMetrics = from_fields(&FIELDS).unwrap();
        let of = |test_accuracy: f64, validation_accuracy: f64| {
            EpochMetrics { test_accuracy, validation_accuracy, ..epoch }.choice_accuracy()
        };
        assert_eq!((of(0.25, f64::NAN), of(f64::NAN, 0.75)), (0.25, 0.75));
        assert!(of(f64::NAN, f64::NAN).is_nan());
    }
}
