//! A suite: `experiments/<name>/suite.toml`, its rows, and the matrix of jobs it stands for.

mod data;
mod recipe;

pub(crate) use recipe::parse;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
pub(crate) use data::Data;
use recipe::{canonical, fnv1a, merge};
use serde::{Deserialize, Serialize};
use taper_host::Usage;
use toml::{Table, Value};

/// A benchmark suite: rows, each trained at some sparsities with some seeds. It may extend another suite, whose rows it
/// then takes over.
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
    /// Name of the row with which the report compares the others; the first pruned one if left out.
    pub(crate) baseline: Option<String>,
    /// Settings on top of every experiment.
    #[serde(default)]
    set: Table,
    /// The rows in the order of the tables.
    #[serde(rename = "row")]
    rows: Vec<RowEntry>,
    /// Changes with which rows are repeated.
    #[serde(default, rename = "variant")]
    variants: Vec<VariantEntry>,
    /// Folders with the experiments of the rows, below the repository; the suite's own first.
    #[serde(skip)]
    folders: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowEntry {
    name: String,
    label: Option<String>,
    /// Stem of the experiment file, if it is not the name.
    experiment: Option<String>,
    /// Settings on top of the experiment.
    #[serde(default)]
    set: Table,
    sparsities: Option<Vec<f64>>,
}

/// A change with which rows are repeated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantEntry {
    /// Goes behind the name of a row.
    name: String,
    /// Goes behind the label of a row.
    label: String,
    /// Patterns of the names of the rows that are repeated.
    rows: Vec<String>,
    /// Settings on top of those of the row.
    set: Table,
    /// Those of the row's sparsities at which it is repeated; all if left out.
    sparsities: Option<Vec<f64>>,
}

/// One row of the matrix with everything settled; also what a manifest records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its name, unique in the suite.
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
    /// Data set other than the experiments'.
    pub(crate) data: Option<Data>,
    /// Device other than the default.
    pub(crate) device: Option<String>,
    /// Settings on top of every experiment, `key=value`.
    pub(crate) set: Vec<String>,
}

/// One training run to be made.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Name of the run folder: readable, and new whenever the recipe is, defaults included.
    pub(crate) key: String,
    /// What results of before called it: a hash of the recipe as written, whatever the defaults.
    pub(crate) key_as_written: String,
    pub(crate) row: String,
    pub(crate) sparsity: Option<f64>,
    pub(crate) seed: u64,
    /// Experiment file, relative to the repository.
    pub(crate) experiment: PathBuf,
    /// Settings on top of it, `key=value`: those of the row.
    pub(crate) set: Vec<String>,
    /// Settings of the suite or the command line, beneath those of the row: other rows may read them.
    pub(crate) set_shared: Vec<String>,
    /// Epochs by the recipe, if it says; for progress only, as is the next.
    pub(crate) epochs: Option<u64>,
    /// Steps after which the recipe ends a run before that.
    pub(crate) max_steps: Option<u64>,
}

/// Gives the recipe of a job with a value for each key, as `taper train --dry-run` prints it.
pub(crate) type Resolve<'a> = &'a (dyn Fn(&Job) -> Result<serde_json::Value> + Sync);

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

/// Name of a suite's file.
const FILE: &str = "suite.toml";

impl Suite {
    /// Reads and checks a suite.
    ///
    /// # Errors
    /// When there is no such suite (the message lists those that are), or it is not valid.
    pub(crate) fn load(root: &Path, name: &str) -> Result<Self> {
        let path = Path::new("experiments").join(name).join(FILE);
        if !root.join(&path).is_file() {
            let message = format!("no suite '{name}'; experiments/ has {}", available(root));
            bail!(Usage::new(message));
        }
        let usage = |error: anyhow::Error| Usage::new(format!("{error:#}"));
        let (table, files) = recipe::load(&root.join(&path)).map_err(usage)?;
        let suite: Result<Self> =
            table.try_into().with_context(|| format!("in {}", path.display()));
        let mut suite = suite.map_err(usage)?;
        name.clone_into(&mut suite.name);
        suite.folders = files.iter().filter_map(|file| Some(file.parent()?.to_owned())).collect();
        suite.check().with_context(|| format!("in {}", path.display())).map_err(usage)?;
        Ok(suite)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.seeds >= 1, "seeds is 0, expected at least 1");
        ensure!(!self.rows.is_empty(), "the suite has no [[row]]");
        let tables =
            self.rows.iter().map(|row| &row.set).chain(self.variants.iter().map(|v| &v.set));
        for table in tables.chain([&self.set]) {
            ensure!(!has(table, "seed"), "set has `seed`, but the seeds are those of `seeds`");
        }
        for (row, _, set) in self.entries() {
            ensure!(
                row.sparsities.is_empty() || !has(&set, "prune.sparsity"),
                "set of row '{}' has `prune.sparsity`, but its sparsities are those of `sparsities`",
                row.name
            );
        }
        for variant in &self.variants {
            for pattern in &variant.rows {
                ensure!(
                    self.rows.iter().any(|row| is_like(pattern, &row.name)),
                    "no row is called '{pattern}' for variant '{}'",
                    variant.name
                );
            }
        }
        let rows = self.rows();
        for (i, row) in rows.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            ensure!(
                !row.name.is_empty() && row.name.chars().all(plain),
                "row name '{}' may hold only letters, digits, '-' and '_'",
                row.name
            );
            ensure!(
                rows[..i].iter().all(|r| r.name != row.name),
                "row '{}' is there twice",
                row.name
            );
        }
        if let Some(baseline) = &self.baseline {
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            ensure!(
                names.contains(&baseline.as_str()),
                "baseline is '{baseline}', which is no row; the rows are {}",
                names.join(", ")
            );
        }
        for sparsity in
            self.rows.iter().filter_map(|r| r.sparsities.as_ref()).flatten().chain(&self.sparsities)
        {
            ensure!((0.0..1.0).contains(sparsity), "sparsity {sparsity} is outside [0, 1)");
        }
        Ok(())
    }

    /// The rows with their sparsities and labels, each followed by its variants.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.entries().into_iter().map(|(row, ..)| row).collect()
    }

    /// The rows, the entries that they come from, and their settings.
    fn entries(&self) -> Vec<(Row, &RowEntry, Table)> {
        let mut entries = Vec::new();
        for entry in &self.rows {
            let row = Row {
                name: entry.name.clone(),
                label: entry.label.clone().unwrap_or_else(|| entry.name.clone()),
                sparsities: entry.sparsities.clone().unwrap_or_else(|| self.sparsities.clone()),
            };
            let mut set = self.set.clone();
            merge(&mut set, entry.set.clone());
            entries.push((row.clone(), entry, set.clone()));
            for variant in self.variants.iter().filter(|variant| variant.is_for(entry)) {
                let is_at = |sparsity: &f64| {
                    variant.sparsities.as_ref().is_none_or(|at| at.contains(sparsity))
                };
                let repeated = Row {
                    name: format!("{}-{}", row.name, variant.name),
                    label: format!("{}, {}", row.label, variant.label),
                    sparsities: row.sparsities.iter().copied().filter(is_at).collect(),
                };
                if repeated.sparsities.is_empty() && !row.sparsities.is_empty() {
                    continue;
                }
                let mut set = set.clone();
                merge(&mut set, variant.set.clone());
                entries.push((repeated, entry, set));
            }
        }
        entries
    }

    /// All runs of the suite: rows × sparsities × seeds, in this order.
    ///
    /// # Errors
    /// When an experiment cannot be read or resolved, or a setting of the command line is none or would do nothing.
    pub(crate) fn jobs(
        &self,
        root: &Path,
        overrides: &Overrides,
        resolve: Resolve,
    ) -> Result<Vec<Job>> {
        overrides.check()?;
        let mut jobs = self.written_jobs(root, overrides)?;
        // A process each: some at a time, as a matrix has hundreds.
        let n_at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let chunk = jobs.len().div_ceil(n_at_once).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = jobs
                .chunks_mut(chunk)
                .map(|jobs| {
                    scope.spawn(move || {
                        jobs.iter_mut().try_for_each(|job| job.resolve(root, overrides, resolve))
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(jobs)
    }

    /// The jobs by what is written, without what `taper` fills in.
    fn written_jobs(&self, root: &Path, overrides: &Overrides) -> Result<Vec<Job>> {
        let here = std::env::current_dir().context("cannot tell the working directory")?;
        let mut jobs = Vec::new();
        for (row, entry, mut set) in self.entries() {
            let experiment = self.experiment(root, entry);
            let mut shared = self.set.clone();
            for text in &overrides.set {
                let mut setting = recipe::setting(text)?;
                // Meant from where the user stands, and `taper` runs in the repository.
                recipe::place(&mut setting, &here);
                merge(&mut shared, setting.clone());
                merge(&mut set, setting);
            }
            let shared = recipe::settings(&shared);
            let (set_shared, own): (Vec<String>, Vec<String>) =
                recipe::settings(&set).into_iter().partition(|text| shared.contains(text));
            let (mut recipe, _) = recipe::load(&root.join(&experiment))?;
            merge(&mut recipe, set.clone());
            for sparsity in row.targets() {
                for seed in 0..self.seeds {
                    let mut job = Job {
                        key: String::new(),
                        key_as_written: String::new(),
                        row: row.name.clone(),
                        sparsity,
                        seed,
                        experiment: experiment.clone(),
                        set: own.clone(),
                        set_shared: set_shared.clone(),
                        epochs: None,
                        max_steps: None,
                    };
                    job.key_as_written = key_as_written(&job, &recipe, overrides);
                    jobs.push(job);
                }
            }
        }
        Ok(jobs)
    }

    /// The experiment file of a row, relative to the repository: in the suite's own folder, or in that of a suite that
    /// it extends.
    fn experiment(&self, root: &Path, entry: &RowEntry) -> PathBuf {
        let file = format!("{}.toml", entry.experiment.as_ref().unwrap_or(&entry.name));
        let places: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join(&file)).collect();
        let found = places.iter().find(|place| place.is_file()).or(places.first());
        let found = found.cloned().unwrap_or_default();
        found.strip_prefix(root).map(Path::to_owned).unwrap_or(found)
    }
}

impl VariantEntry {
    fn is_for(&self, row: &RowEntry) -> bool {
        self.rows.iter().any(|pattern| is_like(pattern, &row.name))
    }
}

impl Job {
    /// Fills in the key, the epochs and the limit of steps.
    ///
    /// The key is the job's readable name and a hash of all that decides its numbers: the recipe with a value for each key,
    /// in which a checkpoint to start from goes by its content, as does here a folder of data.
    fn resolve(&mut self, root: &Path, overrides: &Overrides, resolve: Resolve) -> Result<()> {
        let mut recipe = resolve(self)?;
        self.epochs = recipe["train"]["epochs"].as_u64();
        self.max_steps = recipe["train"]["max_steps"].as_u64().filter(|&n| n > 0);
        let data = match (&overrides.data, recipe["data"].as_str()) {
            (Some(data), _) => Some(data.id.clone()),
            (None, Some(path)) if root.join(path).is_dir() => {
                Some(Data::of(&root.join(path).display().to_string())?.id)
            }
            (None, name) => name.map(str::to_owned),
        };
        recipe["data"] = data.into();
        recipe.sort_all_objects();
        let device = overrides.device.as_deref().filter(|d| *d != "cpu");
        self.key = self.named(&format!("{recipe}|{device:?}"));
        Ok(())
    }

    /// The readable name with a hash of a text.
    fn named(&self, text: &str) -> String {
        format!("{self}-{:010x}", fnv1a(text.as_bytes()) >> 24)
    }
}

impl Overrides {
    /// Refuses settings that others would override.
    fn check(&self) -> Result<()> {
        for text in &self.set {
            let table = recipe::setting(text)?;
            let remedy = match () {
                () if has(&table, "seed") => {
                    "does nothing, as the runs have seeds 0, 1 and so on; pass --seeds N for their number"
                }
                () if has(&table, "prune.sparsity") => {
                    "does nothing, as the rows of a suite name their sparsities; change them in suite.toml, or choose some with --only, such as s0.95"
                }
                () if has(&table, "data") && self.data.is_some() => {
                    "does nothing beside --data; leave one out"
                }
                () => continue,
            };
            bail!(Usage::new(format!("--set {text} {remedy}")));
        }
        Ok(())
    }
}

/// Whether a table has a dotted key.
fn has(table: &Table, key: &str) -> bool {
    match key.split_once('.') {
        None => table.contains_key(key),
        Some((section, key)) => {
            table.get(section).and_then(Value::as_table).is_some_and(|table| has(table, key))
        }
    }
}

/// The key by the recipe as written in its files and on the command line.
fn key_as_written(job: &Job, recipe: &Table, overrides: &Overrides) -> String {
    let mut text = String::new();
    canonical(&Value::Table(recipe.clone()), &mut text);
    let device = overrides.device.as_deref().filter(|d| *d != "cpu");
    let data = overrides.data.as_ref().map(|data| &data.id);
    text += &format!("|{:?}|{}|{:?}|{device:?}", job.sparsity, job.seed, data);
    job.named(&text)
}

fn available(root: &Path) -> String {
    let entries = std::fs::read_dir(root.join("experiments")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join(FILE).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whether a pattern with `*` for any text occurs in a name: `s0.95`, `feather*seed0`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    is_like(&format!("*{pattern}*"), name)
}

/// Whether a name is all of a pattern with `*` for any text.
fn is_like(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    // The shortest text for each `*` leaves the most to those behind it.
    (0..=name.len()).filter(|&at| name.is_char_boundary(at)).any(|at| is_like(rest, &name[at..]))
}

#[cfg(test)]
mod tests;
