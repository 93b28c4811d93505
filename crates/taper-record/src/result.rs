//! `result.json`: the result of a run.

use crate::{
    RecordError,
    number::{nan, or_nan},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of `result.json`.
pub const SCHEMA: u64 = 1;

/// `result.json`: the result of a run. It is the last file that a run writes.
///
/// Fields that an earlier version did not write are `None`, NaN, 0 or empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Version of the file.
    #[serde(default)]
    pub schema: u64,
    /// Name of the network.
    pub model: String,
    /// Name of the data set.
    pub data: String,
    /// Name of the pruning method.
    #[serde(default)]
    pub method: String,
    /// Seed of all random numbers.
    #[serde(default)]
    pub seed: u64,
    /// Number of completed epochs.
    pub epochs: u64,
    /// Number of completed steps.
    pub steps: u64,
    /// Accuracy on the test images, in `[0, 1]`.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub test_accuracy: f64,
    /// Mean loss over the test images.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub test_loss: f64,
    /// Accuracy on the validation images; NaN if none are held out.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub validation_accuracy: f64,
    /// Mean loss over the validation images; NaN if none are held out.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub validation_loss: f64,
    /// Number of validation images.
    #[serde(default)]
    pub n_validation: usize,
    /// The images for choices between epochs: `test` or `validation`. `None` if there was no such choice.
    #[serde(default)]
    pub chosen_on: Option<String>,
    /// Mean loss over the training images in the last epoch.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub train_loss: f64,
    /// The target sparsity; `None` for a dense run.
    pub sparsity_target: Option<f64>,
    /// Number of permanently pruned weights.
    pub n_dropped: Option<u64>,
    /// Number of filters: output channels of convolutions.
    pub n_filters: Option<u64>,
    /// Number of dead filters: filters without kept weights.
    pub n_dead_filters: Option<u64>,
    /// Mean number of prunable weights with a gradient (the live set), over the last epoch.
    pub n_live: Option<f64>,
    /// Mean fraction of the gradient norm in dead filters, over the last epoch.
    pub dead_grad_share: Option<f64>,
    /// Number of parameters, prunable or not.
    pub n_params: u64,
    /// Size of the parameters in f32, in bytes.
    pub bytes_dense: u64,
    /// Size of the pruned checkpoint, in bytes.
    pub bytes_file: u64,
    /// Duration of the run in seconds.
    pub seconds: f64,
    /// Training images per second, the median over the epochs.
    pub images_per_second: Option<f64>,
    /// Counts over all layers.
    #[serde(flatten)]
    pub totals: Totals,
    /// The prunable layers, in the order of the network.
    pub layers: Vec<LayerResult>,
    /// The network of the best epoch, if it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestResult>,
}

impl RunResult {
    /// Parses the text of `result.json`. `path` is only used in error messages.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if the text is invalid, [`RecordError::Later`] if it is from a later version.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RecordError> {
        /// The version alone: a later version may have other fields.
        #[derive(Deserialize)]
        struct Version {
            #[serde(default)]
            schema: u64,
        }
        let Version { schema } =
            serde_json::from_str(text).map_err(RecordError::malformed(path))?;
        match schema > SCHEMA {
            true => Err(RecordError::Later { path: path.into(), schema, known: SCHEMA }),
            false => serde_json::from_str(text).map_err(RecordError::malformed(path)),
        }
    }
}

/// Counts over all prunable layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// The fraction of prunable weights that are 0.
    pub sparsity: f64,
    /// The fraction of prunable weights that are 0, or on no path from input to output; `None` if unknown.
    pub effective_sparsity: Option<f64>,
    /// Number of prunable weights.
    pub n_prunable: u64,
    /// Number of prunable weights that are not 0.
    pub n_kept: u64,
    /// Multiply-accumulates per image with all weights.
    pub macs_dense: u64,
    /// Multiply-accumulates per image with the non-zero weights only.
    pub macs_sparse: u64,
}

/// Counts of a prunable layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerResult {
    /// Name of its weight.
    pub name: String,
    /// `conv` or `linear`.
    pub kind: String,
    /// Shape of its weight.
    pub shape: Vec<usize>,
    /// Number of weights.
    pub n_weights: u64,
    /// Number of weights that are not 0.
    pub n_kept: u64,
    /// Number of non-zero weights on a path from the input to the output; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_effective: Option<u64>,
    /// The fraction of weights that are 0.
    pub sparsity: f64,
    /// Multiply-accumulates per image with all weights.
    pub macs_dense: u64,
    /// Multiply-accumulates per image with the non-zero weights only.
    pub macs_sparse: u64,
}

/// The network of the best epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestResult {
    /// Name of its file in the folder of the run.
    pub file: String,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// Accuracy on the test images, in `[0, 1]`.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub test_accuracy: f64,
    /// Accuracy on the validation images; NaN if none are held out.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub validation_accuracy: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_are_empty_and_nan_is_null() {
        let old = r#"{
            "model": "m", "data": "d", "epochs": 2, "steps": 9, "test_accuracy": 0.5, "test_loss": 1.0, "train_loss": null,
            "sparsity_target": null, "sparsity": 0.5, "effective_sparsity": 0.75, "n_params": 10, "n_prunable": 8,
            "n_kept": 4, "macs_dense": 80, "macs_sparse": 40, "bytes_dense": 40, "bytes_file": 50, "seconds": 1.5,
            "layers": [{ "name": "w", "kind": "conv", "shape": [2, 2, 1, 2], "n_weights": 8, "n_kept": 4,
                         "sparsity": 0.5, "macs_dense": 80, "macs_sparse": 40 }]
        }"#;
        let result: RunResult = serde_json::from_str(old).unwrap();
        assert_eq!((result.totals.n_kept, result.n_filters, result.best.clone()), (4, None, None));
        assert!(result.train_loss.is_nan() && result.validation_loss.is_nan());
        let text = serde_json::to_string(&result).unwrap();
        assert!(text.contains(r#""train_loss":null"#) && text.contains(r#""macs_sparse":40"#));
        let again: RunResult = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{again:?}"), format!("{result:?}"));
    }
}
