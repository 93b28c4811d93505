//! The suites that the program ships, and how a suite is found by its name.

use crate::suite::{Suite, is_suite};
use anyhow::{Context, Result, bail};
use include_dir::{Dir, include_dir};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use taper_host::Usage;
use taper_record::write_file;

/// Suites with their experiments, a folder each.
static SHIPPED: Dir = include_dir!("$CARGO_MANIFEST_DIR/experiments");

/// Finds a suite: a folder, or a name below `experiments` of `folder`, or the name of one that is shipped, which is written
/// below `runs` of `folder`.
///
/// # Errors
/// If there is no such suite (the message lists those that are), or it is not valid.
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
                "no suite '{name}'; there are {}, and any folder with a suite.toml",
                names.join(", ")
            )))
        }
    }
}

/// The suites that can be named in a folder, with their titles: those below its `experiments`, and those that are shipped. In the
/// place of a title stands what is wrong with a suite that is not valid.
///
/// # Errors
/// If what is shipped is damaged.
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

/// The title of a folder that is shipped, if it is that of a suite.
fn title(shipped: &Dir) -> Result<Option<String>> {
    let Some(file) = shipped.get_file(shipped.path().join("suite.toml")) else { return Ok(None) };
    let table: toml::Table = file.contents_utf8().unwrap_or_default().parse()?;
    Ok(table.get("title").and_then(toml::Value::as_str).map(str::to_owned))
}

/// Writes what is shipped below `runs` of a folder, where it is not there already, and says where.
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
        assert_eq!(find("quick", dir.path()).expect("own").title, "Own", "one's own goes first");
        let elsewhere = dir.path().join("experiments").join("quick");
        let by_path = find(&elsewhere.display().to_string(), Path::new("nowhere")).expect("a path");
        assert_eq!((by_path.name.as_str(), by_path.title.as_str()), ("quick", "Own"));
        let names = available(dir.path()).expect("lists");
        assert!(names["quick"] == "Own" && names.contains_key("methods"));
        let error = find("quik", dir.path()).expect_err("none").to_string();
        assert!(error.starts_with("no suite 'quik'; there are cifar100, "), "{error}");
    }
}
