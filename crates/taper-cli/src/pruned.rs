//! A pruned checkpoint with its network and data set.

use crate::images::Trained;
use anyhow::Context;
use std::path::Path;
use taper::{
    data::{Dataset, Normalisation},
    nn::Model,
    train::checkpoint::PrunedCheckpoint,
    zoo::Architecture,
};

/// A pruned checkpoint with its network.
pub(super) struct Pruned {
    pub(super) checkpoint: PrunedCheckpoint,
    pub(super) architecture: Architecture,
    pub(super) model: Box<dyn Model>,
}

impl Pruned {
    pub(super) fn load(path: &Path, device: &candle_core::Device) -> anyhow::Result<Self> {
        let checkpoint = PrunedCheckpoint::load(path)?;
        let architecture = Architecture::find(&checkpoint.architecture)
            .with_context(|| format!("checkpoint {}", path.display()))?;
        let model = architecture.build(checkpoint.classes, 0, device)?;
        checkpoint.load_into(model.params(), path)?;
        Ok(Self { checkpoint, architecture, model })
    }

    /// Opens the data set `name`, or else the recorded one, and its normalization, as [`Trained::data`] does.
    pub(super) fn data(
        &self,
        name: Option<&str>,
        path: &Path,
    ) -> anyhow::Result<(Dataset, Normalisation)> {
        let (Architecture { name: model, image, .. }, checkpoint) =
            (&self.architecture, &self.checkpoint);
        let (classes, recipe) = (checkpoint.classes, &checkpoint.recipe);
        Trained { path, model, image: *image, classes, recipe }.data(name)
    }
}
