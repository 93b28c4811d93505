//! A suite: `experiments/<name>/suite.toml`, its rows, and the matrix of jobs it stands for.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// Longest chain of `extends`; longer ones are taken for a circle.
const MAX_EXTENDS: usize = 8;

/// A benchmark suite: rows, each trained at some sparsities with some seeds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// Name of the folder below `experiments/`.
    #[serde(skip)]
    pub(crate) name: String,
    /// Heading of the report.
    pub(crate) title: String,
    /// Sparsities of the rows that have none of their own, each in [0, 1).
    sparsities: Vec<f64>,
    /// Number of seeds; they are 0, 1, ...
    pub(crate) seeds: u64,
    /// The rows in the order of the tables.
    #[serde(rename = "row")]
    rows: Vec<RowEntry>,
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowEntry {
    name: String,
    label: Option<String>,
    sparsities: Option<Vec<f64>>,
}

/// One row of the matrix with everything settled; also what a manifest records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Stem of the experiment file.
    pub(crate) name: String,
    /// What tables and figures call it.
    pub(crate) label: String,
    /// Empty for a row trained without a sparsity.
    pub(crate) sparsities: Vec<f64>,
}

impl Row {
    /// The sparsities of the row's cells; a row without any has one cell, of none.
    pub(crate) fn targets(&self) -> Vec<Option<f64>> {
        if self.sparsities.is_empty() {
            vec![None]
        } else {
            self.sparsities.iter().copied().map(Some).collect()
        }
    }
}

/// What the command line changes in every job, and so in its key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Data set by name or folder.
    pub(crate) data: Option<String>,
    /// Device other than the default.
    pub(crate) device: Option<String>,
}

/// One training run to be made.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Name of the run folder: readable, and new whenever the recipe is.
    pub(crate) key: String,
    pub(crate) row: String,
    pub(crate) sparsity: Option<f64>,
    pub(crate) seed: u64,
    /// Experiment file, relative to the repository.
    pub(crate) experiment: PathBuf,
    /// Epochs by the recipe, if it says; for progress only.
    pub(crate) epochs: Option<u64>,
}

/// The readable part of the key: `feather-s0.95-seed0`.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.row)?;
        if let Some(sparsity) = self.sparsity {
            write!(f, "-s{sparsity}")?;
        }
        write!(f, "-seed{}", self.seed)
    }
}

impl Suite {
    /// Reads and checks a suite.
    ///
    /// # Errors
    /// When there is no such suite (the message lists those that are), or it is not valid.
    pub(crate) fn load(root: &Path, name: &str) -> Result<Self> {
        let folder = Path::new("experiments").join(name);
        let path = root.join(&folder).join("suite.toml");
        if !path.is_file() {
            bail!("no suite '{name}'; experiments/ has {}", available(root));
        }
        let mut suite: Self = parse(&path)?;
        suite.name = name.to_owned();
        suite.folder = folder;
        suite.check().with_context(|| format!("in {}", path.display()))?;
        Ok(suite)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.seeds >= 1, "seeds is 0, expected at least 1");
        ensure!(!self.rows.is_empty(), "the suite has no [[row]]");
        for (i, row) in self.rows.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            ensure!(
                !row.name.is_empty() && row.name.chars().all(plain),
                "row name '{}' may hold only letters, digits, '-' and '_'",
                row.name
            );
            ensure!(
                self.rows[..i].iter().all(|r| r.name != row.name),
                "row '{}' is there twice",
                row.name
            );
        }
        for sparsity in
            self.rows.iter().filter_map(|r| r.sparsities.as_ref()).flatten().chain(&self.sparsities)
        {
            ensure!((0.0..1.0).contains(sparsity), "sparsity {sparsity} is outside [0, 1)");
        }
        Ok(())
    }

    /// The rows with their sparsities and labels.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let row = |entry: &RowEntry| Row {
            name: entry.name.clone(),
            label: entry.label.clone().unwrap_or_else(|| entry.name.clone()),
            sparsities: entry.sparsities.clone().unwrap_or_else(|| self.sparsities.clone()),
        };
        self.rows.iter().map(row).collect()
    }

    /// All runs of the suite: rows × sparsities × seeds, in this order.
    ///
    /// # Errors
    /// When an experiment file is missing or is not TOML.
    pub(crate) fn jobs(&self, root: &Path, overrides: &Overrides) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for row in self.rows() {
            let experiment = self.folder.join(format!("{}.toml", row.name));
            let recipe = load_experiment(&root.join(&experiment), 0)?;
            let epochs =
                recipe.get("train").and_then(|t| t.get("epochs")).and_then(Value::as_integer);
            let epochs = epochs.and_then(|e| u64::try_from(e).ok());
            for sparsity in row.targets() {
                for seed in 0..self.seeds {
                    let mut job = Job {
                        key: String::new(),
                        row: row.name.clone(),
                        sparsity,
                        seed,
                        experiment: experiment.clone(),
                        epochs,
                    };
                    job.key = key(&job, &recipe, overrides);
                    jobs.push(job);
                }
            }
        }
        Ok(jobs)
    }
}

/// Reads an experiment with the files it extends merged beneath it.
fn load_experiment(path: &Path, depth: usize) -> Result<Table> {
    ensure!(depth < MAX_EXTENDS, "{} extends itself or too long a chain of files", path.display());
    let mut table: Table = parse(path)?;
    let Some(base) = table.remove("extends") else { return Ok(table) };
    let Some(base) = base.as_str() else { bail!("extends in {} is not a string", path.display()) };
    let mut merged = load_experiment(&path.with_file_name(base), depth + 1)?;
    merge(&mut merged, table);
    Ok(merged)
}

/// Lays `over` on top: tables are merged, anything else is replaced.
fn merge(beneath: &mut Table, over: Table) {
    for (name, value) in over {
        match (beneath.get_mut(&name), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                beneath.insert(name, value);
            }
        }
    }
}

/// The job's readable name and a hash of all that decides its numbers.
///
/// The recipe enters as parsed, so a comment or a moved line in its files does not repeat a run.
fn key(job: &Job, recipe: &Table, overrides: &Overrides) -> String {
    let mut text = String::new();
    canonical(&Value::Table(recipe.clone()), &mut text);
    let device = overrides.device.as_deref().filter(|d| *d != "cpu");
    text += &format!("|{:?}|{}|{:?}|{device:?}", job.sparsity, job.seed, overrides.data);
    format!("{job}-{:010x}", fnv1a(text.as_bytes()) >> 24)
}

/// Writes a value with sorted keys, whatever order the parser keeps.
fn canonical(value: &Value, out: &mut String) {
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
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Reads a TOML file; the message names the file and the line.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn available(root: &Path) -> String {
    let entries = std::fs::read_dir(root.join("experiments")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("suite.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whether a pattern with `*` for any text occurs in a name: `s0.95`, `feather*seed0`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    pattern.split('*').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
#[path = "suite_tests.rs"]
mod tests;
