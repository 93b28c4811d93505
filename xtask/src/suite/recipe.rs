//! TOML files that extend others, and what a recipe comes to.

use anyhow::{Result, bail, ensure};
use std::path::{Path, PathBuf};
use taper_host::Usage;
use toml::{Table, Value};

/// Longest chain of `extends`; longer ones are taken for a circle.
const MAX_EXTENDS: usize = 8;

/// Reads a file with those that it extends merged beneath it; also says which files those are, its own first.
pub(super) fn load(path: &Path) -> Result<(Table, Vec<PathBuf>)> {
    let (mut layers, mut files) = (Vec::new(), Vec::new());
    let mut next = Some(path.to_owned());
    while let Some(path) = next.take() {
        ensure!(
            files.len() < MAX_EXTENDS,
            Usage::new(format!("{} extends itself or too long a chain of files", path.display()))
        );
        let mut table: Table = parse(&path)?;
        if let Some(base) = table.remove("extends") {
            let Some(base) = base.as_str() else {
                bail!(Usage::new(format!("extends in {} is not a string", path.display())))
            };
            next = Some(path.with_file_name(base));
        }
        place_paths(&mut table, &std::path::absolute(&path)?);
        layers.push(table);
        files.push(path);
    }
    let mut merged = Table::new();
    for table in layers.into_iter().rev() {
        merge(&mut merged, table);
    }
    Ok((merged, files))
}

/// Makes the paths that a suite sets relative to its file, as `taper` does for those of an experiment: what it gets by
/// `--set` is relative to where it runs.
fn place_paths(table: &mut Table, file: &Path) {
    for (key, value) in table {
        match (key.as_str(), value) {
            ("set", Value::Table(set)) => place(set, file.parent().unwrap_or(file)),
            ("row" | "variant", Value::Array(entries)) => {
                let entries = entries.iter_mut().filter_map(Value::as_table_mut);
                entries.for_each(|entry| place_paths(entry, file));
            }
            _ => {}
        }
    }
}

/// Makes the paths among settings relative to a folder.
pub(super) fn place(set: &mut Table, folder: &Path) {
    for key in ["data", "from"] {
        if let Some(Value::String(text)) = set.get_mut(key)
            && (key == "from" || is_folder(folder, text))
        {
            *text = folder.join(&*text).display().to_string();
        }
    }
}

/// Whether a data set is a folder, not a name with a revision, if any, behind `@`.
fn is_folder(beside: &Path, data: &str) -> bool {
    let name = data.split_once('@').map_or(data, |(name, _)| name);
    name.contains(['/', '\\', '.']) || beside.join(data).exists()
}

/// Lays `over` on top: tables are merged, anything else is replaced.
pub(super) fn merge(beneath: &mut Table, over: Table) {
    for (name, value) in over {
        match (beneath.get_mut(&name), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                beneath.insert(name, value);
            }
        }
    }
}

/// The settings of a table as `taper` takes them: `train.epochs=2`. A key has a section and a name at most, so what is
/// deeper is a value.
pub(super) fn settings(table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                found.extend(section.iter().map(|(key, value)| format!("{name}.{key}={value}")));
            }
            value => found.push(format!("{name}={value}")),
        }
    }
    found
}

/// A table from a setting as `taper` takes it. What is not a value of TOML is a string.
///
/// # Errors
/// When there is no `=`, or the key is not one.
pub(super) fn setting(text: &str) -> Result<Table> {
    let Some((key, value)) = text.split_once('=') else {
        bail!(Usage::new(format!("--set `{text}` is not of the form key=value")))
    };
    toml::from_str(text).or_else(|_| {
        toml::from_str(&format!("{key} = {}", Value::String(value.trim().to_owned())))
            .map_err(|_| Usage::new(format!("--set `{text}`: `{key}` is not a key")).into())
    })
}

/// Writes a value with sorted keys, whatever order the parser keeps.
pub(super) fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Table(table) => {
            let mut names: Vec<&String> = table.keys().collect();
            names.sort();
            out.push('{');
            for name in names {
                *out += &format!("{name:?}:");
                canonical(&table[name], out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::String(text) => *out += &format!("{text:?}"),
        other => *out += &other.to_string(),
    }
}

/// The 64-bit FNV-1a hash: names folders the same way on each machine and in each version of Rust.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_from(FNV, bytes)
}

/// The hash of nothing.
pub(super) const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what has this one, followed by more bytes.
pub(super) fn fnv1a_from(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Reads a TOML file; the message names the file and the line.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let place = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Usage::new(format!("cannot read {place}: {error}")))?;
    toml::from_str(&text).map_err(|error| Usage::new(format!("in {place}: {error}")).into())
}
