//! `steps.jsonl`: the metrics of each step.

use crate::number::{nan, or_nan};
use serde::{Deserialize, Serialize};

/// A line of `steps.jsonl`: the metrics of a step. The fields after `accuracy` are only written if the run prunes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, counted from 0.
    pub step: u64,
    /// Its epoch, counted from 0.
    #[serde(default)]
    pub epoch: u64,
    /// Mean loss of the batch.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub loss: f64,
    /// Learning rate of the step.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub lr: f64,
    /// Norm of the gradient before clipping.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub grad_norm: f64,
    /// Accuracy on the batch, in `[0, 1]`.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub accuracy: f64,
    /// Sparsity of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity_target: Option<f64>,
    /// Sparsity from counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Number of kept weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_kept: Option<u64>,
    /// The largest magnitude threshold of a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<f32>,
    /// Factor on the gradient of pruned weights at magnitude 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theta: Option<f32>,
    /// Number of prunable weights with a gradient (the live set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_live: Option<u64>,
    /// Number of permanently pruned weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_dropped: Option<u64>,
    /// Number of dead filters: output channels of convolutions without kept weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_dead_filters: Option<u64>,
    /// The fraction of the gradient norm in dead filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_grad_share: Option<f64>,
    /// The position of an adaptive schedule on its ramp, in steps of the plain ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<f64>,
    /// The moving average of mask churn that an adaptive schedule uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instability: Option<f64>,
}

impl StepMetrics {
    /// A line of the file, without the line break.
    ///
    /// # Errors
    /// If the value cannot be written as JSON, which cannot happen with the current fields.
    pub fn line(&self) -> std::io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Parses a line; `None` if it is invalid.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_steps_have_no_pruning_fields_and_missing_fields_are_empty() {
        let old = r#"{"step":7,"loss":null,"sparsity":0.5}"#;
        let step = StepMetrics::parse(old).unwrap();
        assert!((step.step, step.sparsity, step.clock) == (7, Some(0.5), None));
        assert!(step.loss.is_nan() && step.lr.is_nan());
        let dense = StepMetrics { loss: 0.1 + 0.2, sparsity: None, ..step };
        let line = dense.line().unwrap();
        assert!(line.contains("0.30000000000000004") && !line.contains("sparsity"), "{line}");
        assert_eq!(StepMetrics::parse(&line).unwrap().loss, 0.1 + 0.2);
        assert_eq!(StepMetrics::parse("{\"step\":"), None);
    }
}
