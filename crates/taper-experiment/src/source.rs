//! The source of a run's images: recorded with the run, and found again by later commands.

use crate::error::usage;
use serde_json::Value;
use std::path::Path;
use taper::{data::Dataset, record::run::DataRecord};

/// Key of the recipe in a pruned checkpoint. The recipe itself identifies images by name and content, so it does not
/// depend on their place.
const KEY: &str = "data_source";
/// Key of the names of classes, for data sets whose name does not say them.
const CLASSES: &str = "class_names";

/// Adds the source of the images to the recipe of a pruned checkpoint, for later commands.
pub(crate) fn with_source(mut recipe: Value, data: &Dataset) -> Value {
    // The name alone is enough if it is the source.
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

/// Whether a source is a folder, not the name of a data set.
fn is_folder(source: &str) -> bool {
    Dataset::shape_of(source).is_none()
}

/// Removes the folder of the images from a checkpoint's recipe, for files that go to other machines. The name of the data
/// set, its fingerprint and the names of its classes stay. Returns whether there was a folder.
pub fn remove_folder(recipe: &mut Value) -> bool {
    recipe[KEY].as_str().is_some_and(is_folder)
        && recipe.as_object_mut().and_then(|recipe| recipe.remove(KEY)).is_some()
}

/// The data record in `run.json`: what the images are, where they were read from, and commit and SHA-256 of files from
/// the hub.
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

/// Finds the source of the images in a checkpoint's recipe; `None` if the recipe has none.
///
/// # Errors
/// If the source is a folder that no longer exists.
pub fn of_checkpoint(recipe: &Value, path: &Path) -> anyhow::Result<Option<String>> {
    let Some(source) = recipe[KEY].as_str().or_else(|| recipe["data"].as_str()) else {
        return Ok(None);
    };
    if is_folder(source) && !Path::new(source).is_dir() {
        return Err(usage(format!(
            "checkpoint {} was trained on the images in {source}, but that folder does not exist; pass the folder of the images with --data",
            path.display()
        )));
    }
    Ok(Some(source.into()))
}

/// Names of the classes of a checkpoint's network; `None` if its recipe does not record them.
pub fn class_names(recipe: &Value) -> Option<Vec<String>> {
    match recipe[CLASSES].as_array() {
        Some(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        None => recipe["data"].as_str().and_then(Dataset::classes_of),
    }
}

/// The first class of a checkpoint's network that has another name in these classes: both names. `None` if all agree, or
/// the recipe records no names.
pub fn other_class<'a>(recipe: &Value, classes: &'a [String]) -> Option<(String, &'a str)> {
    let pairs = class_names(recipe)?.into_iter().zip(classes);
    pairs.map(|(was, is)| (was, is.as_str())).find(|(was, is)| was != is)
}

/// Checks that `data`, read from the source of a checkpoint, has the images that the checkpoint was trained on, if its
/// recipe records their fingerprint.
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

/// Checks that the hub's files are those that the run began with. `begun` is the data record in its `run.json`.
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
                "{} contains a run on other files: {} had SHA-256 {was} and now has {}; resume with --data {}, or pass another --out",
                folder.display(),
                file.filename,
                file.sha256,
                if begun.source.is_empty() { &data.name } else { &begun.source }
            )));
        }
    }
    Ok(())
}
