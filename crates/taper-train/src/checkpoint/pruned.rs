//! The checkpoint of a pruned network, for other tools.

use super::file::{CheckpointError, TensorFile};
use crate::EpochMetrics;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};
use taper_nn::{Model, Params};

const KIND: &str = "taper-pruned-1";

/// A network in which pruned weights are 0, with PyTorch's names.
///
/// The file is plain safetensors. It has every entry of the state dict, and the metadata `format` (`pt`), `kind`,
/// `architecture`, `classes`, `sparsity`, `recipe` (JSON) and `tool`. The network of a chosen epoch also has `epoch`
/// (counted from 0), `test_accuracy`, and `validation_accuracy` if images were held out.
#[derive(Clone, Debug)]
pub struct PrunedCheckpoint {
    /// Name of the architecture in the zoo.
    pub architecture: String,
    /// Number of classes.
    pub classes: usize,
    /// The fraction of prunable weights that are zero, from counts.
    pub sparsity: f64,
    /// The resolved recipe of the run.
    pub recipe: Value,
    file: TensorFile,
}

impl PrunedCheckpoint {
    /// Whether `kind` is that of a pruned checkpoint, of this or another version.
    pub fn is_kind(kind: &str) -> bool {
        kind.starts_with("taper-pruned-")
    }

    /// A checkpoint of the current weights of a model.
    pub fn of(
        model: &dyn Model,
        architecture: &str,
        classes: usize,
        sparsity: f64,
        recipe: Value,
    ) -> Self {
        let tensors = model
            .params()
            .entries()
            .iter()
            .map(|e| (e.name.clone(), e.var.as_tensor().clone()))
            .collect();
        let metadata = [
            ("format", "pt".to_string()),
            ("kind", KIND.to_string()),
            ("architecture", architecture.to_string()),
            ("classes", classes.to_string()),
            ("sparsity", sparsity.to_string()),
            ("recipe", recipe.to_string()),
            ("tool", concat!("taper ", env!("CARGO_PKG_VERSION")).to_string()),
        ];
        let metadata = metadata.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        Self {
            architecture: architecture.into(),
            classes,
            sparsity,
            recipe,
            file: TensorFile { metadata, tensors },
        }
    }

    /// Adds the epoch of the weights and its accuracies to the metadata.
    #[must_use]
    pub fn of_epoch(mut self, epoch: &EpochMetrics) -> Self {
        let said = [
            ("epoch", epoch.epoch.to_string()),
            ("test_accuracy", epoch.test_accuracy.to_string()),
            ("validation_accuracy", epoch.validation_accuracy.to_string()),
        ];
        let said = said.into_iter().filter(|(_, value)| value != "NaN");
        self.file.metadata.extend(said.map(|(key, value)| (key.to_string(), value)));
        self
    }

    /// Writes the file atomically: if writing fails, the old file remains.
    ///
    /// # Errors
    /// [`CheckpointError`] if the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        self.file.save(path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file is missing, damaged, or of another kind.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let file = TensorFile::load(path)?;
        let kind = file.require("kind", path)?;
        if kind != KIND {
            let reason = format!(
                "its kind is `{kind}`, but must be `{KIND}`: use the pruned.safetensors of a finished run, or convert this file with `taper export` and `taper import`"
            );
            return Err(CheckpointError::malformed(path, reason));
        }
        let number = |key: &str| -> Result<f64, CheckpointError> {
            let text = file.require(key, path)?;
            text.parse().map_err(|_| {
                CheckpointError::malformed(path, format!("its `{key}` is `{text}`, not a number"))
            })
        };
        let (classes, sparsity) = (number("classes")?, number("sparsity")?);
        // A classifier has at least one weight per class, so the size of the file limits the number of classes.
        let n_values: usize = file.tensors.values().map(candle_core::Tensor::elem_count).sum();
        if !(1.0..=n_values as f64).contains(&classes) || classes.fract() != 0.0 {
            let reason = format!(
                "its `classes` is {classes}, but must be a whole number from 1 to {n_values}, the number of values in its tensors"
            );
            return Err(CheckpointError::malformed(path, reason));
        }
        Ok(Self {
            architecture: file.require("architecture", path)?.to_string(),
            classes: classes as usize,
            sparsity,
            recipe: serde_json::from_str(file.require("recipe", path)?).map_err(|e| {
                CheckpointError::malformed(path, format!("its `recipe` is not JSON: {e}"))
            })?,
            file,
        })
    }

    /// The metadata of the network, as text: `architecture`, `classes`, `sparsity`, `recipe` and `tool`.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        // Accuracies belong to exactly these weights. Files made from them may have rounded weights.
        let own = ["format", "kind", "epoch", "test_accuracy", "validation_accuracy"];
        let metadata = self.file.metadata.iter().filter(|(key, _)| !own.contains(&key.as_str()));
        metadata.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Loads the weights into a model of the same architecture. `path` is only used in error messages.
    ///
    /// # Errors
    /// [`CheckpointError`] if a tensor is missing or has another shape. The model is then unchanged.
    pub fn load_into(&self, params: &Params, path: &Path) -> Result<(), CheckpointError> {
        params.load(|name| self.file.tensors.get(name).cloned()).map_err(|e| {
            CheckpointError::malformed(path, format!("{e}, for architecture {}", self.architecture))
        })
    }
}
