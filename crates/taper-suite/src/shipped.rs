//! The suites that the program ships, and the search for a suite by its name.

use crate::suite::{Suite, is_suite};
use anyhow::{Context, Result, bail};
use include_dir::{Dir, include_dir};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use taper_host::Usage;
use taper_record::write_file;

/// The shipped suites with their experiments, one folder each.
static SHIPPED: Dir = include_dir!("$CARGO_MANIFEST_DIR/experiments");

/// Finds a suite: a folder, or a name below `experiments` of `folder`, or the name of a shipped suite. Shipped suites
/// are written below `runs` of `folder`.
///
/// # Errors
/// If the suite does not exist (the message lists all suites), or is not valid.
pub fn find(name: &str, folder: &Path) -> Result<Suite> {
    let own = folder.join("experiments").join(name);
    for place in [PathBuf::from(name), own] {
        if is_suite(&place) {
            return Suite::load(&place);
        }
    }
    match SHIPPED.get_dir(name) {
        Some(_) => Suite::load(&written(folder)?.join(name)),
        None => {
            let names: Vec<String> = available(folder)?.into_keys().collect();
            bail!(Usage::new(format!(
                "no suite '{name}'; choose one of {}, or any folder with a suite.toml",
                names.join(", ")
            )))
        }
    }
}

/// The available suites with their titles: those below `experiments` of a folder, and the shipped ones. If a suite is
/// not valid, its error replaces the title.
///
/// # Errors
/// If a shipped suite is damaged.
pub fn available(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for shipped in SHIPPED.dirs() {
        let name = shipped.path().display().to_string();
        found.extend(title(shipped)?.map(|title| (name, title)));
    }
    for entry in std::fs::read_dir(folder.join("experiments")).into_iter().flatten().flatten() {
        if is_suite(&entry.path()) {
            let title = match Suite::load(&entry.path()) {
                Ok(suite) => suite.title,
                Err(error) => format!("cannot be used: {error:#}"),
            };
            found.insert(entry.file_name().to_string_lossy().into_owned(), title);
        }
    }
    Ok(found)
}

/// The title of a shipped folder, if it is a suite.
fn title(shipped: &Dir) -> Result<Option<String>> {
    let Some(file) = shipped.get_file(shipped.path().join("suite.toml")) else { return Ok(None) };
    let table: toml::Table = file.contents_utf8().unwrap_or_default().parse()?;
    Ok(table.get("title").and_then(toml::Value::as_str).map(str::to_owned))
}

/// Writes the shipped suites below `runs` of a folder, unless they are there already, and returns their folder.
fn written(folder: &Path) -> Result<PathBuf> {
    let place = folder.join("runs").join(".experiments");
    for shipped in SHIPPED.dirs() {
        for file in shipped.files() {
            let path = place.join(file.path());
            if std::fs::read(&path).is_ok_and(|there| there == file.contents()) {
                continue;
            }
            let parent = path.parent().unwrap_or(&place);
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
            write_file(&path, file.contents())?;
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_name_and_by_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shipped = find("quick", dir.path()).expect("it is shipped");
        assert_eq!(shipped.name, "quick");
        assert!(dir.path().join("runs/.experiments/quick/feather.toml").is_file());
        let own = dir.path().join("experiments/quick");
        std::fs::create_dir_all(&own).expect("creates");
        let text = "title = 'Own'\nseeds = 1\nsparsities = []\n[[row]]\nname = 'a'\n";
        std::fs::write(own.join("suite.toml"), text).expect("writes");
        assert_eq!(
            find("quick", dir.path()).expect("own").title,
            "Own",
            "a suite in the folder goes first"
        );
        let elsewhere = dir.path().join("experiments").join("quick");
        let by_path = find(&elsewhere.display().to_string(), Path::new("nowhere")).expect("a path");
        assert_eq!((by_path.name.as_str(), by_path.title.as_str()), ("quick", "Own"));
        let names = available(dir.path()).expect("lists");
        assert!(names["quick"] == "Own" && names.contains_key("methods"));
        let error = find("quik", dir.path()).expect_err("none").to_string();
        assert!(error.starts_with("no suite 'quik'; choose one of cifar100, "), "{error}");
    }
}
