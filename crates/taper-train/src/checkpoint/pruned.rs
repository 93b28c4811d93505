//! The pruned network alone, for other tools.

use super::file::{CheckpointError, TensorFile};
use crate::EpochMetrics;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};
use taper_nn::{Model, Params};

const KIND: &str = "taper-pruned-1";

/// A network with its zeros in place, under PyTorch's names.
///
/// The file is plain safetensors: every entry of the state dict, and metadata `format` (`pt`), `kind`,
/// `architecture`, `classes`, `sparsity`, `recipe` (JSON) and `tool`; that of a chosen epoch also `epoch` (from 0) and
/// `test_accuracy`, and `validation_accuracy` where images were held out.
#[derive(Clone, Debug)]
pub struct PrunedCheckpoint {
    /// Name of the architecture in the zoo.
    pub architecture: String,
    /// Outputs of the classifier.
    pub classes: usize,
    /// Share of the prunable weights that are zero, as counted.
    pub sparsity: f64,
    /// The resolved recipe of the run.
    pub recipe: Value,
    file: TensorFile,
}

impl PrunedCheckpoint {
    /// The weights of a model as they are now.
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

    /// Says of which epoch the weights are, and what accuracy was measured then.
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

    /// Writes the file, or leaves what was there.
    ///
    /// # Errors
    /// [`CheckpointError`] if the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        self.file.save(path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is missing, damaged, or of another kind.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let file = TensorFile::load(path)?;
        let kind = file.require("kind", path)?;
        if kind != KIND {
            let reason = format!(
                "it is of kind `{kind}`, where a `{KIND}` file is needed: the pruned.safetensors of a finished run, or what `taper import` makes of what `taper export` writes of this one"
            );
            return Err(CheckpointError::malformed(path, reason));
        }
        let number = |key: &str| -> Result<f64, CheckpointError> {
            let text = file.require(key, path)?;
            text.parse().map_err(|_| {
                CheckpointError::malformed(path, format!("its `{key}` is `{text}`, no number"))
            })
        };
        let (classes, sparsity) = (number("classes")?, number("sparsity")?);
        // A classifier has at least one weight for each class, so the file bounds what has to be allocated.
        let n_values: usize = file.tensors.values().map(candle_core::Tensor::elem_count).sum();
        if !(1.0..=n_values as f64).contains(&classes) || classes.fract() != 0.0 {
            let reason =
                format!("it says {classes} classes, and its tensors hold {n_values} values");
            return Err(CheckpointError::malformed(path, reason));
        }
        Ok(Self {
            architecture: file.require("architecture", path)?.to_string(),
            classes: classes as usize,
            sparsity,
            recipe: serde_json::from_str(file.require("recipe", path)?).map_err(|e| {
                CheckpointError::malformed(path, format!("its `recipe` is no JSON: {e}"))
            })?,
            file,
        })
    }

    /// What the file says of its network: `architecture`, `classes`, `sparsity`, `recipe` and `tool`, as texts.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        // An accuracy is that of these very numbers, and files made of them may have rounded ones.
        let own = ["format", "kind", "epoch", "test_accuracy", "validation_accuracy"];
        let metadata = self.file.metadata.iter().filter(|(key, _)| !own.contains(&key.as_str()));
        metadata.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Puts the weights into a model of the same architecture.
    ///
    /// # Errors
    /// [`CheckpointError`] if a tensor is missing or has another shape; `path` is for the message. The model is
    /// then as it was.
    pub fn load_into(&self, params: &Params, path: &Path) -> Result<(), CheckpointError> {
        params.load(|name| self.file.tensors.get(name).cloned()).map_err(|e| {
            CheckpointError::malformed(path, format!("{e}, for architecture {}", self.architecture))
        })
    }
}
