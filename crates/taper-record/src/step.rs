//! `steps.jsonl`: what each step came to.

use crate::number::{nan, or_nan};
use serde::{Deserialize, Serialize};

/// A line of `steps.jsonl`: what a step came to. What follows the accuracy is of runs that prune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, from 0.
    pub step: u64,
    /// Its epoch, from 0.
    #[serde(default)]
    pub epoch: u64,
    /// Mean loss of the batch.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub loss: f64,
    /// Learning rate used.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub lr: f64,
    /// Norm of the gradient before clipping.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub grad_norm: f64,
    /// Accuracy on the batch, in `[0, 1]`.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub accuracy: f64,
    /// The sparsity that the schedule asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity_target: Option<f64>,
    /// The sparsity from counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Weights that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_kept: Option<u64>,
    /// The largest cut of a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<f32>,
    /// Factor on the gradient of pruned weights at magnitude 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theta: Option<f32>,
    /// Weights that got a gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_live: Option<u64>,
    /// Weights that were dropped for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_dropped: Option<u64>,
    /// Output channels of convolutions that have lost every weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_dead_filters: Option<u64>,
    /// Share of the gradient's norm that is in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_grad_share: Option<f64>,
    /// What the clock of an adaptive schedule shows, in steps of the plain ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<f64>,
    /// What the adaptive schedule knows of the instability of masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instability: Option<f64>,
}

impl StepMetrics {
    /// A line of the file, without its line end.
    ///
    /// # Errors
    /// None that a run can cause; a later field might be no JSON.
    pub fn line(&self) -> std::io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Takes a line back; `None` if it is something else.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_step_has_no_fields_of_pruning_and_one_of_before_lacks_more() {
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
