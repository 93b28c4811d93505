//! The network in a file of any kind.

use crate::error::usage;
use anyhow::{Context, bail};
use candle_core::Device;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};
use taper::{
    data::Normalisation,
    export::{Network, open},
    zoo::Architecture,
};

/// More than any data set has; a network is built for as many before the file's tensors are looked at.
pub const MOST_CLASSES: usize = 1 << 16;

/// Reads the network of a pruned checkpoint or of any exported format, with folded normalisations or not. Its metadata are
/// those of the file, `architecture`, `classes` and `recipe` among them.
///
/// # Errors
/// If the file cannot be read, does not say which network of the zoo it holds, or does not hold it whole.
pub fn load(path: &Path) -> anyhow::Result<Network> {
    let opened = open(path)?;
    let place = path.display();
    let said = |key: &str| {
        opened.metadata(key).ok_or_else(|| {
            usage(format!(
                "{place} does not say its {key}; make a checkpoint of it with `taper import --model NAME`"
            ))
        })
    };
    let (name, classes) = (said("architecture")?, said("classes")?);
    let architecture = Architecture::find(name).with_context(|| place.to_string())?;
    let classes = match classes.parse() {
        Ok(n @ 1..=MOST_CLASSES) => n,
        _ => bail!("{place} says {classes} classes, outside 1 to {MOST_CLASSES}"),
    };
    let model = architecture.build(classes, 0, &Device::Cpu)?;
    let like = Network::of(&*model, architecture.image, BTreeMap::new())?;
    Ok(opened.network(&like)?)
}

/// The recipe in a file's metadata; without a key if there is none.
///
/// # Errors
/// If it is no JSON; `path` is for the message.
pub fn recipe(text: Option<&str>, path: &Path) -> anyhow::Result<Value> {
    match text {
        Some(text) => serde_json::from_str(text)
            .with_context(|| format!("{}: its recipe is no JSON", path.display())),
        None => Ok(Value::Object(Map::new())),
    }
}

/// What pixels are normalised with, if a recipe says it.
///
/// # Errors
/// If it names constants that are not known.
pub fn normalisation(recipe: &Value) -> anyhow::Result<Option<Normalisation>> {
    let name = recipe["train"]["normalise"].as_str();
    Ok(name.map(Normalisation::by_name).transpose()?)
}
