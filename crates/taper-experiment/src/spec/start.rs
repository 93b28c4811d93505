//! A pruned checkpoint that training starts from.

use super::validation::n_held_out;
use crate::{error::usage, source};
use anyhow::Context;
use candle_core::Device;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use taper::{
    core::{Sparsity, hash::fnv1a},
    nn::Params,
    train::{checkpoint::PrunedCheckpoint, n_kept},
    zoo::Architecture,
};

/// A checkpoint, with a fingerprint of its bytes.
#[derive(Clone, Debug)]
pub struct Start {
    path: PathBuf,
    checkpoint: Arc<PrunedCheckpoint>,
    fingerprint: String,
    /// The counted number of prunable weights that are not zero; `n` is the number of all.
    n_kept: u64,
    n: u64,
}

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Start {
    /// Reads a checkpoint and counts its weights.
    ///
    /// # Errors
    /// If it is not a network of the zoo, or its zeros do not match the sparsity that it records.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let checkpoint = Arc::new(PrunedCheckpoint::load(path)?);
        let place = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {place}"))?;
        let fingerprint = format!("{:016x}", fnv1a(&bytes));
        let architecture = Architecture::find(&checkpoint.architecture)
            .map_err(|error| usage(format!("checkpoint {place}: {error}")))?;
        let model = architecture.build(checkpoint.classes, 0, &Device::Cpu)?;
        checkpoint.load_into(model.params(), path)?;
        let (n_kept, n) = n_kept(model.params())?;
        let (said, counted) = (checkpoint.sparsity, Sparsity::of(n_kept, n).get());
        anyhow::ensure!(
            (counted - said).abs() < 0.5 / n.max(1) as f64,
            "checkpoint {place} records a sparsity of {said}, but its weights have {counted}; import it again with `taper import`"
        );
        Ok(Self { path: path.into(), checkpoint, fingerprint, n_kept, n })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture of its network.
    pub fn model(&self) -> &str {
        &self.checkpoint.architecture
    }

    /// The source of the images that it was trained on, if it records one.
    ///
    /// # Errors
    /// If the source is a folder that no longer exists.
    pub fn data(&self) -> anyhow::Result<Option<String>> {
        source::of_checkpoint(&self.checkpoint.recipe, &self.path)
    }

    /// Number of validation images in its training, of `n` training images with this fingerprint; `None` if it was trained
    /// on other images.
    pub fn n_validation(&self, fingerprint: &str, n: usize) -> Option<usize> {
        let recipe = &self.checkpoint.recipe;
        let is_same = recipe["data_fingerprint"].as_str() == Some(fingerprint);
        let validation = recipe["train"]["validation"].as_f64().unwrap_or(0.0);
        is_same.then(|| n_held_out(validation, n).unwrap_or(0))
    }

    /// The normalization of the pixels that it was trained on, if it records one.
    pub fn normalise(&self) -> Option<&str> {
        self.checkpoint.recipe["train"]["normalise"].as_str()
    }

    /// The recorded fraction of its prunable weights that are zero.
    pub fn sparsity(&self) -> f64 {
        self.checkpoint.sparsity
    }

    /// Whether any of its prunable weights is zero.
    pub fn is_sparse(&self) -> bool {
        self.sparsity() > 0.0
    }

    /// Whether a sparsity keeps the same number of weights as the checkpoint; this is true for a range of sparsities.
    pub fn is_at(&self, sparsity: Sparsity) -> bool {
        sparsity.n_kept(self.n) == self.n_kept
    }

    /// The sparsity from which pruning to `target` begins.
    ///
    /// # Errors
    /// If the target keeps more weights than the checkpoint: the sparsity of a schedule never decreases.
    pub fn begin(&self, target: Sparsity) -> anyhow::Result<f64> {
        if self.is_at(target) {
            return Ok(target.get());
        }
        let wanted = target.n_kept(self.n);
        if wanted > self.n_kept {
            return Err(usage(format!(
                "prune.sparsity is {target}, which keeps {wanted} of {} weights, but checkpoint {} has only {} (sparsity {}); \
                 set that sparsity or a higher one, or set prune.initial below it",
                self.n,
                self.path.display(),
                self.n_kept,
                self.sparsity()
            )));
        }
        Ok(self.sparsity())
    }

    /// A hash that identifies its content.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Warns if it was trained on classes with other names. This can be intended, as the number of classes is the same.
    pub fn warn_of_classes(&self, classes: &[String]) {
        if let Some((was, is)) = source::other_class(&self.checkpoint.recipe, classes) {
            let path = self.path.display();
            tracing::warn!("class {was} of checkpoint {path} is class {is} of the data set");
        }
    }

    /// Loads its weights into a network with `classes` outputs.
    ///
    /// # Errors
    /// If the network has another structure.
    pub fn load_into(&self, params: &Params, classes: usize) -> anyhow::Result<()> {
        let path = self.path.display();
        if self.checkpoint.classes != classes {
            return Err(usage(format!(
                "checkpoint {path} has {} classes, but the data set has {classes}; choose another with --data",
                self.checkpoint.classes
            )));
        }
        Ok(self.checkpoint.load_into(params, &self.path)?)
    }
}
