//! Finds the data set of a network.

use crate::{error::usage, network, term};
use anyhow::Context;
use serde_json::Value;
use std::path::Path;
use taper::data::{Dataset, Normalisation};
use taper_experiment::{open_data, source};

/// The metadata of a network's file that determine its images.
pub(super) struct Trained<'a> {
    /// The file, for messages.
    pub(super) path: &'a Path,
    /// Name of the network in messages.
    pub(super) model: &'a str,
    /// Shape of an image: channels, rows, columns.
    pub(super) image: [usize; 3],
    /// Number of classes.
    pub(super) classes: usize,
    /// The recipe of its training; empty if not known.
    pub(super) recipe: &'a Value,
}

impl Trained<'_> {
    /// Opens the data set `name`, or else the recorded one, and its normalization. The classes must match: their number,
    /// and their names if they are recorded.
    pub(super) fn data(&self, name: Option<&str>) -> anyhow::Result<(Dataset, Normalisation)> {
        let Self { path, model, image, recipe, .. } = *self;
        let progress = term::FetchBar::default();
        let open = |name: &str, limit| open_data(name, model, image, limit, Some(&progress));
        let data = match name {
            Some(name) => open(name, None)?,
            None => {
                let source = source::of_checkpoint(recipe, path)?.with_context(|| {
                    format!("{} does not record its data set; pass it with --data", path.display())
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
                "{} has {} classes, but {} has {}; pass the data set it was trained on with --data",
                path.display(),
                self.classes,
                data.name,
                data.classes.len()
            )));
        }
        if let Some((was, is)) = source::other_class(recipe, &data.classes) {
            return Err(usage(format!(
                "class {was} of {} is class {is} of {}; pass the data set it was trained on with --data, or rename the classes",
                path.display(),
                data.name
            )));
        }
        // Imported files may not record a normalization; the default is that of the data set.
        let said = network::normalisation(recipe)?;
        let normalisation = said.unwrap_or_else(|| data.normalisation.clone());
        let scale = data.normalisation.scale();
        Ok((data, normalisation.with_scale(scale)))
    }
}
