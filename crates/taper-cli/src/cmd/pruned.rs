//! A pruned checkpoint, its network and its data.

use super::open_data;
use crate::{network, source};
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
    pub(super) architecture: &'static Architecture,
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

    /// The data set that it was trained on, or another with as many classes; and its normalisation.
    pub(super) fn data(
        &self,
        name: Option<&str>,
        path: &Path,
    ) -> anyhow::Result<(Dataset, Normalisation)> {
        let recipe = &self.checkpoint.recipe;
        let data = match name {
            Some(name) => open_data(name, self.architecture, None)?,
            None => {
                let source = source::of_checkpoint(recipe, path)?.with_context(|| {
                    format!("checkpoint {}: its recipe does not say its data set", path.display())
                })?;
                let data = open_data(&source, self.architecture, None)?;
                let limit = recipe["train"]["limit"].as_u64().filter(|&limit| limit > 0);
                let seen = match limit.map(usize::try_from) {
                    Some(limit) => open_data(&source, self.architecture, Some(limit?))?,
                    None => data.clone(),
                };
                source::expect_same_images(recipe, &seen, path)?;
                data
            }
        };
        if data.classes.len() != self.checkpoint.classes {
            return Err(crate::error::usage(format!(
                "checkpoint {} has {} classes, and {} has {}; pass the data set it was trained on with --data",
                path.display(),
                self.checkpoint.classes,
                data.name,
                data.classes.len()
            )));
        }
        // What was imported may not say it; then it is the data set's own.
        let said = network::normalisation(recipe)?;
        let normalisation = said.unwrap_or_else(|| data.normalisation.clone());
        Ok((data, normalisation))
    }
}
