//! Where a run's images came from: recorded with it, and found again by the commands that come later.

use crate::error::usage;
use serde_json::Value;
use std::path::Path;
use taper::{data::Dataset, record::run::DataRecord};

/// Key of the recipe in a pruned checkpoint. The recipe itself knows images by name and content, so that a run is the
/// same wherever they lie.
const KEY: &str = "data_source";
/// Key of the names of classes, for data sets whose name does not say them.
const CLASSES: &str = "class_names";

/// The recipe as a pruned checkpoint carries it: with what later commands read the images from.
pub(crate) fn with_source(mut recipe: Value, data: &Dataset) -> Value {
    // A name that says all needs no source beside it.
    if data.origin.name != data.name
        && let Some(recipe) = recipe.as_object_mut()
    {
        recipe.insert(KEY.into(), data.origin.name.as_str().into());
        if Dataset::classes_of(&data.name).as_ref() != Some(&data.classes) {
            recipe.insert(CLASSES.into(), data.classes.clone().into());
        }
    }
    recipe
}

/// What `run.json` says of the images: what they are, where they were read from, and commit and SHA-256 of what came from the
/// hub.
pub(crate) fn describe(data: &Dataset) -> DataRecord {
    let digests = data.origin.files.iter();
    DataRecord {
        name: data.name.clone(),
        fingerprint: data.fingerprint.clone(),
        n_train: data.train.len(),
        n_test: data.test.len(),
        classes: data.classes.len(),
        source: data.origin.name.clone(),
        commit: data.origin.commit().map(str::to_owned),
        sha256: digests.map(|file| (file.filename.clone(), file.sha256.clone())).collect(),
    }
}

/// What the images of a checkpoint's recipe can be read from; `None` if it does not say.
///
/// # Errors
/// If that is a folder which is no longer there.
pub fn of_checkpoint(recipe: &Value, path: &Path) -> anyhow::Result<Option<String>> {
    let Some(source) = recipe[KEY].as_str().or_else(|| recipe["data"].as_str()) else {
        return Ok(None);
    };
    if Dataset::shape_of(source).is_none() && !Path::new(source).is_dir() {
        return Err(usage(format!(
            "checkpoint {} was trained on the images in {source}, and there is no such folder; pass their place with --data",
            path.display()
        )));
    }
    Ok(Some(source.into()))
}

/// Names of the classes that a checkpoint's network was trained on; `None` if its recipe does not say them.
pub fn class_names(recipe: &Value) -> Option<Vec<String>> {
    match recipe[CLASSES].as_array() {
        Some(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        None => recipe["data"].as_str().and_then(Dataset::classes_of),
    }
}

/// Checks that `data`, read from the source of a checkpoint, is what the checkpoint was trained on, if its recipe says
/// that.
pub fn expect_same_images(recipe: &Value, data: &Dataset, path: &Path) -> anyhow::Result<()> {
    match recipe["data_fingerprint"].as_str() {
        Some(was) if was != data.fingerprint => Err(usage(format!(
            "checkpoint {} was trained on other images than {} has now (fingerprint {was}, not {}); pass the data set with --data",
            path.display(),
            data.origin.name,
            data.fingerprint
        ))),
        _ => Ok(()),
    }
}

/// Checks that the hub's files are those that a run began with; `begun` is what its `run.json` says of the data.
pub(crate) fn expect_same_files(
    begun: &DataRecord,
    data: &Dataset,
    folder: &Path,
) -> anyhow::Result<()> {
    for file in &data.origin.files {
        if let Some(was) = begun.sha256.get(&file.filename)
            && *was != file.sha256
        {
            return Err(usage(format!(
                "{} holds a run on other files: {} had SHA-256 {was} and has {} now; resume with --data {}, or pass another --out",
                folder.display(),
                file.filename,
                file.sha256,
                if begun.source.is_empty() { &data.name } else { &begun.source }
            )));
        }
    }
    Ok(())
}
