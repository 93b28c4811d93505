//! `result.json`: what a run came to.

use crate::number::{nan, or_nan};
use serde::{Deserialize, Serialize};

/// Version of `result.json`.
pub const SCHEMA: u64 = 1;

/// `result.json`: what a run came to. It is the last file of a run to be written.
///
/// Fields that a file of an earlier version lacks are `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Version of the file.
    #[serde(default)]
    pub schema: u64,
    /// The network.
    pub model: String,
    /// Name of the data set.
    pub data: String,
    /// The preset of pruning.
    #[serde(default)]
    pub method: String,
    /// Seed of everything that is drawn.
    #[serde(default)]
    pub seed: u64,
    /// Epochs done.
    pub epochs: u64,
    /// Steps done.
    pub steps: u64,
    /// Accuracy on the test images, in `[0, 1]`.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub test_accuracy: f64,
    /// Mean loss over the test images.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub test_loss: f64,
    /// Accuracy on the validation images; NaN where none are held out.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub validation_accuracy: f64,
    /// Mean loss over the validation images; NaN likewise.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub validation_loss: f64,
    /// Validation images.
    #[serde(default)]
    pub n_validation: usize,
    /// Which images choices between epochs were made on, `test` or `validation`; `None` if no such choice was made.
    #[serde(default)]
    pub chosen_on: Option<String>,
    /// Mean loss over the training images in the last epoch.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub train_loss: f64,
    /// The sparsity asked for; `None` for a dense run.
    pub sparsity_target: Option<f64>,
    /// Weights that were dropped for good.
    pub n_dropped: Option<u64>,
    /// Output channels of convolutions.
    pub n_filters: Option<u64>,
    /// Those of them that have lost every weight.
    pub n_dead_filters: Option<u64>,
    /// Mean number of the prunable weights that got a gradient, over the last epoch.
    pub n_live: Option<f64>,
    /// Mean share of the gradient's norm in dead filters, over the last epoch.
    pub dead_grad_share: Option<f64>,
    /// Parameters, those that are not prunable too.
    pub n_params: u64,
    /// Bytes of the parameters in f32.
    pub bytes_dense: u64,
    /// Bytes of the pruned checkpoint.
    pub bytes_file: u64,
    /// Seconds of the run.
    pub seconds: f64,
    /// Median over the epochs of the images trained on by second.
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

/// Counts over all prunable layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Share of the prunable weights that are 0.
    pub sparsity: f64,
    /// … with weights that no path leads through counted as 0; `None` where paths are not known.
    pub effective_sparsity: Option<f64>,
    /// Prunable weights.
    pub n_prunable: u64,
    /// Those that are not 0.
    pub n_kept: u64,
    /// Multiplications for an image, if none is left out.
    pub macs_dense: u64,
    /// Multiplications for an image by weights that are not 0.
    pub macs_sparse: u64,
}

/// A prunable layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerResult {
    /// Name of its weight.
    pub name: String,
    /// `conv` or `linear`.
    pub kind: String,
    /// Shape of its weight.
    pub shape: Vec<usize>,
    /// Weights.
    pub n_weights: u64,
    /// Those that are not 0.
    pub n_kept: u64,
    /// Those of them on a path from the input to the output; `None` where paths are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_effective: Option<u64>,
    /// Share of the weights that are 0.
    pub sparsity: f64,
    /// Multiplications for an image, if none is left out.
    pub macs_dense: u64,
    /// Multiplications for an image by weights that are not 0.
    pub macs_sparse: u64,
}

/// The network of the best epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestResult {
    /// Name of its file in the folder of the run.
    pub file: String,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Accuracy on the test images, in `[0, 1]`.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub test_accuracy: f64,
    /// Accuracy on the validation images; NaN where none are held out.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub validation_accuracy: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_lacks_is_empty_and_nan_is_null() {
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
