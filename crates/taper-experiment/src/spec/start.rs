//! A pruned checkpoint that training starts from.

use crate::{error::usage, source};
use anyhow::Context;
use candle_core::Device;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use taper::{
    core::{Sparsity, rng::fnv1a},
    nn::Params,
    train::{checkpoint::PrunedCheckpoint, n_kept},
    zoo::Architecture,
};

/// The checkpoint, and what its bytes are known by.
#[derive(Clone, Debug)]
pub struct Start {
    path: PathBuf,
    checkpoint: Arc<PrunedCheckpoint>,
    fingerprint: String,
    /// Prunable weights that are not zero, and all of them, as counted.
    n_kept: u64,
    n: u64,
}

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Start {
    /// Reads it and counts its weights.
    ///
    /// # Errors
    /// If it is no network of the zoo, or its zeros are not as many as it says.
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
            "checkpoint {place} says a sparsity of {said}, and {counted} is counted; import it again with `taper import`"
        );
        Ok(Self { path: path.into(), checkpoint, fingerprint, n_kept, n })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Architecture of the network in it.
    pub fn model(&self) -> &str {
        &self.checkpoint.architecture
    }

    /// What the images that it was trained on can be read from, if it says that.
    ///
    /// # Errors
    /// If that is a folder which is no longer there.
    pub fn data(&self) -> anyhow::Result<Option<String>> {
        source::of_checkpoint(&self.checkpoint.recipe, &self.path)
    }

    /// Share of its prunable weights that are zero, as it says.
    pub fn sparsity(&self) -> f64 {
        self.checkpoint.sparsity
    }

    /// Whether a sparsity keeps as many weights as it has; several fractions do.
    pub fn is_at(&self, sparsity: Sparsity) -> bool {
        sparsity.n_kept(self.n) == self.n_kept
    }

    /// The sparsity at which pruning to `target` begins.
    ///
    /// # Errors
    /// If the target keeps more weights than the checkpoint has: a schedule never falls.
    pub fn begin(&self, target: Sparsity) -> anyhow::Result<f64> {
        if self.is_at(target) {
            return Ok(target.get());
        }
        let wanted = target.n_kept(self.n);
        if wanted > self.n_kept {
            return Err(usage(format!(
                "prune.sparsity is {target}, which keeps {wanted} of {} weights, and checkpoint {} has {} (sparsity {}); \
                 ask for that sparsity or a higher one, or set prune.initial below it",
                self.n,
                self.path.display(),
                self.n_kept,
                self.sparsity()
            )));
        }
        Ok(self.sparsity())
    }

    /// Tells its content from others'.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Puts its weights into a network of `classes` outputs.
    ///
    /// # Errors
    /// If it is of another structure.
    pub fn load_into(&self, params: &Params, classes: usize) -> anyhow::Result<()> {
        let path = self.path.display();
        if self.checkpoint.classes != classes {
            return Err(usage(format!(
                "checkpoint {path} has {} classes, and the data set has {classes}; choose another with --data",
                self.checkpoint.classes
            )));
        }
        Ok(self.checkpoint.load_into(params, &self.path)?)
    }
}
