//! The output folder of a run.

use crate::error::usage;
use anyhow::Context;
use serde_json::Value;
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};
use taper::{
    core::rng::fnv1a,
    train::{remove_partial_files, write_atomically},
};

/// The output folder of one run.
pub struct RunFolder {
    path: PathBuf,
    /// Locked while this process works in the folder; the system unlocks it however the process ends.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder, or goes on in it.
    ///
    /// A folder that holds a run already needs `resume`, and the same recipe.
    pub fn open(path: &Path, resume: bool, record: &Value) -> anyhow::Result<Self> {
        let made = std::fs::create_dir_all(path);
        made.with_context(|| {
            format!("cannot make the output folder {}; choose another with --out", path.display())
        })?;
        let folder = Self { path: path.into(), _lock: lock(path)? };
        remove_partial_files(path);
        let is_taken =
            ["run.json", "result.json", "checkpoints"].iter().any(|name| path.join(name).exists());
        if is_taken && !resume {
            return Err(usage(format!(
                "{} holds a run already; pass --resume to go on with it, or another --out",
                path.display()
            )));
        }
        if let Some(run) = folder.read("run.json")? {
            folder.expect_recipe(&run["recipe"], record)?;
        } else if path.join("result.json").exists() {
            return Err(usage(format!(
                "{} holds a result but no run.json that says of what; pass another --out",
                path.display()
            )));
        }
        Ok(folder)
    }

    /// Checks that what the folder holds comes from this recipe.
    pub fn expect_recipe(&self, found: &Value, record: &Value) -> anyhow::Result<()> {
        match difference(found, record, "") {
            None => Ok(()),
            Some(difference) => Err(usage(format!(
                "{} holds a run with another recipe: {difference}; resume with the same recipe, or pass another --out",
                self.path.display()
            ))),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The result, if the run is finished.
    pub fn result(&self) -> anyhow::Result<Option<Value>> {
        // Without its network, the run is finished anew from the last checkpoint.
        if !self.path.join("pruned.safetensors").exists() {
            return Ok(None);
        }
        self.read("result.json")
    }

    /// Writes a JSON file atomically.
    pub fn write(&self, name: &str, value: &Value) -> anyhow::Result<()> {
        self.write_text(name, &(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// Writes a text file atomically.
    pub fn write_text(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        write_atomically(&path, |file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}; is the folder writable?", path.display()))
    }

    /// Reads a JSON file, if it is there.
    pub fn read(&self, name: &str) -> anyhow::Result<Option<Value>> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let value = serde_json::from_slice(&bytes);
                Ok(Some(value.with_context(|| {
                    format!("{} is no JSON; pass another --out", path.display())
                })?))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Seconds of the whole run, and images per second of training, from `timing.csv`.
    pub fn timing(&self) -> anyhow::Result<(f64, f64)> {
        let path = self.path.join("timing.csv");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let rows: Vec<(f64, f64)> = text
            .lines()
            .skip(1)
            .filter_map(|line| {
                let mut fields = line.split(',').skip(1).map(str::parse::<f64>);
                Some((fields.next()?.ok()?, fields.next()?.ok()?))
            })
            .collect();
        let mut rates: Vec<f64> = rows.iter().map(|row| row.1).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates.get(rates.len() / 2).copied().unwrap_or(0.0);
        Ok((rows.iter().map(|row| row.0).sum(), median))
    }
}

/// Takes the folder for this process.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join(".lock");
    let cannot = || format!("cannot write {}; is the folder writable?", path.display());
    let file = File::create(&path).with_context(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(usage(format!(
            "another taper is training in {}; wait for it, or pass another --out",
            folder.display()
        ))),
        Err(TryLockError::Error(e)) => Err(e).with_context(cannot),
    }
}

/// 16 hexadecimal digits that tell recipes apart.
pub fn hash(record: &Value) -> String {
    format!("{:016x}", fnv1a(record.to_string().as_bytes()))
}

/// The first key in which two recipes differ, with both values.
fn difference(old: &Value, new: &Value, path: &str) -> Option<String> {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.into_iter().find_map(|key| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                difference(
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                    &path,
                )
            })
        }
        _ if old == new => None,
        _ => Some(format!("{path} was {old} and is now {new}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let old = json!({ "seed": 1, "train": { "lr": 0.1, "epochs": 3 } });
        assert_eq!(difference(&old, &old, ""), None);
        let new = json!({ "seed": 1, "train": { "lr": 0.2, "epochs": 3 } });
        assert_eq!(difference(&old, &new, "").as_deref(), Some("train.lr was 0.1 and is now 0.2"));
        let new = json!({ "seed": 1, "train": { "lr": 0.1, "epochs": 3, "more": true } });
        assert_eq!(
            difference(&old, &new, "").as_deref(),
            Some("train.more was null and is now true")
        );
        assert_ne!(hash(&old), hash(&new));
    }
}
