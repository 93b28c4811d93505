//! A pruned checkpoint that training starts from.

use crate::{error::usage, source};
use anyhow::Context;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use taper::{core::rng::fnv1a, nn::Params, train::checkpoint::PrunedCheckpoint};

/// The checkpoint, and what its bytes are known by.
#[derive(Clone, Debug)]
pub struct Start {
    path: PathBuf,
    checkpoint: Arc<PrunedCheckpoint>,
    fingerprint: String,
}

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Start {
    /// Reads it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let checkpoint = Arc::new(PrunedCheckpoint::load(path).map_err(usage)?);
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let fingerprint = format!("{:016x}", fnv1a(&bytes));
        Ok(Self { path: path.into(), checkpoint, fingerprint })
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

    /// Tells its content from others'.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Puts its weights into a network of `classes` outputs.
    ///
    /// # Errors
    /// If it is of another structure, or its zeros are not as many as it says.
    pub fn load_into(&self, params: &Params, classes: usize) -> anyhow::Result<()> {
        let path = self.path.display();
        if self.checkpoint.classes != classes {
            return Err(usage(format!(
                "checkpoint {path} has {} classes, and the data set has {classes}; choose another with --data",
                self.checkpoint.classes
            )));
        }
        self.checkpoint.load_into(params, &self.path)?;
        let (n_kept, n) = taper::train::n_kept(params)?;
        let counted = taper::core::Sparsity::of(n_kept, n).get();
        anyhow::ensure!(
            (counted - self.sparsity()).abs() < 0.5 / n.max(1) as f64,
            "checkpoint {path} says a sparsity of {}, and {counted} is counted; import it again with `taper import`",
            self.sparsity()
        );
        Ok(())
    }
}
