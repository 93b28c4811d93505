//! TOML files that extend other files, with settings on top.
//!
//! `extends = "base.toml"` puts another file below this one; a [`Setting`], such as `train.lr=0.1`, goes on top. The
//! upper value of each key counts. Errors are usage errors that name the file.
#![forbid(unsafe_code)]

mod place;
mod setting;

pub use place::place;
pub use setting::{Setting, has, put, settings};

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use taper_host::Usage;
pub use toml::{Table, Value};

/// Maximum number of files in a chain of `extends`.
const MAX_DEPTH: usize = 8;

/// Reads a file, with the files that it extends merged below it. Also returns the paths of these files, the given file
/// first. `what` names the kind of file in messages. `look` receives the table of each file, and may change or reject
/// it.
///
/// # Errors
/// If a file cannot be read, is not TOML or is rejected, or the chain of files is too long.
pub fn load(
    file: &Path,
    what: &str,
    mut look: impl FnMut(&mut Table, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<(Table, Vec<PathBuf>)> {
    let (mut layers, mut files) = (Vec::new(), Vec::new());
    let mut next = Some(file.to_owned());
    while let Some(file) = next.take() {
        let place = file.display();
        let mut table: Table = parse(&file, what)?;
        match table.remove("extends") {
            None => {}
            Some(Value::String(_)) if files.len() + 1 >= MAX_DEPTH => {
                let message = format!("{place}: more than {MAX_DEPTH} files extend one another");
                return Err(Usage::new(message).into());
            }
            Some(Value::String(base)) => next = Some(beside(&file, &base)),
            Some(_) => {
                let message = format!("{place}: `extends` must be the path of a file, in quotes");
                return Err(Usage::new(message).into());
            }
        }
        look(&mut table, &file).map_err(|error| Usage::new(format!("{place}: {error:#}")))?;
        layers.push(table);
        files.push(file);
    }
    let mut merged = Table::new();
    for table in layers.into_iter().rev() {
        merge(&mut merged, table);
    }
    Ok((merged, files))
}

/// Reads a single TOML file. `what` names the kind of file in messages.
///
/// # Errors
/// If it cannot be read or does not contain a `T`; the message names file and line.
pub fn parse<T: DeserializeOwned>(file: &Path, what: &str) -> anyhow::Result<T> {
    let place = file.display();
    if file.exists() && !file.is_file() {
        return Err(Usage::new(format!("{what} {place} is not a file")).into());
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| Usage::new(format!("cannot read {what} {place}: {error}")))?;
    toml::from_str(&text)
        .map_err(|error| Usage::new(format!("{place}: {}", one_line(&error.to_string()))).into())
}

/// Puts `above` over `below`, key by key: tables are merged, anything else is replaced.
pub fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// Joins a message of several lines, with excerpts of the file, into one line.
pub fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A path given in a file, relative to that file.
pub(crate) fn beside(file: &Path, other: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_over_what_it_extends() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(root.path().join(name).parent().expect("a folder"))
                .and_then(|()| std::fs::write(root.path().join(name), text))
                .expect("writes");
        };
        write("a/base.toml", "data = 'digits'\n[train]\nlr = 0.1\nepochs = 3\n");
        write("b/row.toml", "extends = '../a/base.toml'\n[train]\nlr = 0.2\n");
        let mut seen = Vec::new();
        let (table, files) = load(&root.path().join("b/row.toml"), "experiment", |own, _| {
            seen.push(own.len());
            Ok(())
        })
        .expect("loads");
        assert_eq!((table["train"]["lr"].as_float(), seen), (Some(0.2), vec![1, 2]));
        assert_eq!(table["train"]["epochs"].as_integer(), Some(3));
        assert!(files[1].ends_with("b/../a/base.toml") && !table.contains_key("extends"));
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let refused = |name: &str, text: &str| {
            std::fs::write(root.path().join(name), text).expect("writes");
            let error = load(&root.path().join(name), "suite", |own, _| {
                anyhow::ensure!(!own.contains_key("bad"), "bad is not a key");
                Ok(())
            });
            let error = error.expect_err("refused");
            assert!(error.is::<Usage>(), "{error}");
            error.to_string()
        };
        assert!(refused("loop.toml", "extends = 'loop.toml'").contains("extend one another"));
        assert!(refused("x.toml", "extends = 3").contains("x.toml: `extends` must be the path"));
        assert!(refused("x.toml", "extends = 'none.toml'").contains("cannot read suite"));
        assert!(refused("x.toml", "extends = '.'").contains("is not a file"));
        assert!(refused("x.toml", "a = [").contains("x.toml: TOML parse error at line 1"));
        assert!(refused("x.toml", "bad = 1").contains("x.toml: bad is not a key"));
    }
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
