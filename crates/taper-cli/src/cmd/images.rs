//! The images that a network was trained on.

use crate::{error::usage, network, term};
use anyhow::Context;
use serde_json::Value;
use std::path::Path;
use taper::data::{Dataset, Normalisation};
use taper_experiment::{open_data, source};

/// What a file says of its network, and so of images for it.
pub(super) struct Trained<'a> {
    /// The file, in messages.
    pub(super) path: &'a Path,
    /// What messages call the network.
    pub(super) model: &'a str,
    /// Shape of an image.
    pub(super) image: [usize; 3],
    /// Classes that it tells apart.
    pub(super) classes: usize,
    /// The experiment that trained it, as far as it is known.
    pub(super) recipe: &'a Value,
}

impl Trained<'_> {
    /// The data set that it was trained on, or another with as many classes; and its normalisation.
    pub(super) fn data(&self, name: Option<&str>) -> anyhow::Result<(Dataset, Normalisation)> {
        let Self { path, model, image, recipe, .. } = *self;
        let progress = term::FetchBar::default();
        let open = |name: &str, limit| open_data(name, model, image, limit, Some(&progress));
        let data = match name {
            Some(name) => open(name, None)?,
            None => {
                let source = source::of_checkpoint(recipe, path)?.with_context(|| {
                    format!(
                        "checkpoint {}: it does not say its data set; pass it with --data",
                        path.display()
                    )
                })?;
                let data = open(&source, None)?;
                let limit = recipe["train"]["limit"].as_u64().filter(|&limit| limit > 0);
                let seen = match limit.map(usize::try_from) {
                    Some(limit) => open(&source, Some(limit?))?,
                    None => data.clone(),
                };
                source::expect_same_images(recipe, &seen, path)?;
                data
            }
        };
        if data.classes.len() != self.classes {
            return Err(usage(format!(
                "checkpoint {} has {} classes, and {} has {}; pass the data set it was trained on with --data",
                path.display(),
                self.classes,
                data.name,
                data.classes.len()
            )));
        }
        // What was imported may not say it; then it is the data set's own.
        let said = network::normalisation(recipe)?;
        let normalisation = said.unwrap_or_else(|| data.normalisation.clone());
        let scale = data.normalisation.scale();
        Ok((data, normalisation.with_scale(scale)))
    }
}
