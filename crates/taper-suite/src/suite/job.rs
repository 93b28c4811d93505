//! Jobs: the single runs of a suite, and their keys.

use super::{ImageSource, Suite};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fmt,
    path::{Path, PathBuf},
};
use taper_compose::{Setting, has, merge, place, put, settings};
use taper_core::hash::fnv1a;
use taper_host::Usage;
use taper_record::later::{FREE, as_before};
use toml::Table;

/// Changes from the command line to every job, and so to its key.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Images instead of those of the experiments.
    pub data: Option<ImageSource>,
    /// Device, if it is not the CPU: `cuda`, `cuda:N` or `metal`.
    pub device: Option<String>,
    /// Settings on top of every experiment, `key=value`.
    pub set: Vec<String>,
}

/// A training run to execute.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name of the run folder: readable, and different for each recipe, defaults included.
    pub key: String,
    /// Its keys in results of earlier versions, which had fewer keys in their recipes.
    pub(crate) earlier_keys: Vec<String>,
    /// Name of the row.
    pub row: String,
    /// Its sparsity; `None` for a row without.
    pub sparsity: Option<f64>,
    /// Its seed.
    pub seed: u64,
    /// Experiment file.
    pub experiment: PathBuf,
    /// Settings of the suite or the command line on top of it, `key=value`. Other rows may use them, so a setting
    /// without an effect in this row is not an error.
    pub set_shared: Vec<String>,
    /// Settings of the row, on top of the shared ones.
    pub set: Vec<String>,
    /// Images instead of those of the experiment: a name or a folder.
    pub data: Option<String>,
    /// Epochs of the recipe, if it sets them; only for progress, like the next field.
    pub epochs: Option<u64>,
    /// The recipe's limit of steps, if it has one.
    pub max_steps: Option<u64>,
    /// The resolved recipe, from which the key is computed.
    pub(crate) recipe: Value,
}

/// Resolves the recipe of a job to a value for each key, as `taper train --dry-run` prints it.
pub(crate) type Resolve<'a> = &'a (dyn Fn(&Job) -> Result<Value> + Sync);

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
    /// All runs of the suite: rows × sparsities × seeds, in this order. Relative data paths of experiments start from
    /// `folder`.
    ///
    /// # Errors
    /// If an experiment cannot be read or resolved, or a setting of the command line is not valid or has no effect.
    pub(crate) fn jobs(
        &self,
        folder: &Path,
        overrides: &Overrides,
        resolve: Resolve,
    ) -> Result<Vec<Job>> {
        let mut jobs = self.written_jobs(overrides)?;
        // Each job may start a process. Several run at a time, because a matrix has hundreds of jobs.
        let n_at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let chunk = jobs.len().div_ceil(n_at_once).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = jobs
                .chunks_mut(chunk)
                .map(|jobs| {
                    scope.spawn(move || {
                        jobs.iter_mut().try_for_each(|job| job.resolve(folder, overrides, resolve))
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(jobs)
    }

    /// The jobs as they are written, before their experiments are resolved.
    fn written_jobs(&self, overrides: &Overrides) -> Result<Vec<Job>> {
        let on_top = overrides.table()?;
        self.check_over_grids(&on_top)?;
        let mut jobs = Vec::new();
        for (row, entry, mut set) in self.entries() {
            let mut shared = self.set.clone();
            for table in [&mut shared, &mut set] {
                merge(table, on_top.clone());
                // The data of the command line are those of all rows.
                if overrides.data.is_some() {
                    table.remove("data");
                }
            }
            let shared = settings(&shared);
            let (set_shared, own): (Vec<String>, Vec<String>) =
                settings(&set).into_iter().partition(|text| shared.contains(text));
            for sparsity in row.targets() {
                for seed in 0..self.seeds {
                    jobs.push(Job {
                        key: String::new(),
                        earlier_keys: Vec::new(),
                        row: row.name.clone(),
                        sparsity,
                        seed,
                        experiment: self.experiment(entry),
                        set_shared: set_shared.clone(),
                        set: own.clone(),
                        data: overrides.data.as_ref().map(|data| data.name.clone()),
                        epochs: None,
                        max_steps: None,
                        recipe: Value::Null,
                    });
                }
            }
        }
        Ok(jobs)
    }
}

impl Job {
    /// All settings on top of its experiment and [`set_shared`](Self::set_shared), `key=value`: those of the row, the
    /// sparsity, the seed and the data.
    pub fn settings(&self) -> Vec<String> {
        let mut all = self.set.clone();
        all.extend(self.sparsity.map(|sparsity| format!("prune.sparsity={sparsity}")));
        all.extend(self.data.iter().map(|data| format!("data={}", toml::Value::from(&**data))));
        all.push(format!("seed={}", self.seed));
        all
    }

    /// Uses the key of an earlier version if a folder with that key exists, but none with the current key: the run
    /// resumes there.
    pub(crate) fn go_on(&mut self, has_folder: impl Fn(&str) -> bool) {
        let earlier = self.earlier_keys.iter_mut().find(|key| has_folder(key));
        if let Some(earlier) = earlier.filter(|_| !has_folder(&self.key)) {
            std::mem::swap(earlier, &mut self.key);
        }
    }

    /// Fills in the key, the epochs and the limit of steps.
    ///
    /// The key is the job's readable name and a hash of all that decides its numbers: the resolved recipe, in which a
    /// checkpoint to start from and a folder of data are identified by their content.
    fn resolve(&mut self, folder: &Path, overrides: &Overrides, resolve: Resolve) -> Result<()> {
        let mut recipe = resolve(self)?;
        self.epochs = recipe["train"]["epochs"].as_u64();
        self.max_steps = recipe["train"]["max_steps"].as_u64().filter(|&n| n > 0);
        let data = match (&overrides.data, recipe["data"].as_str()) {
            (Some(data), _) => Some(data.id.clone()),
            (None, Some(path)) if !ImageSource::is_name(path) && folder.join(path).is_dir() => {
                Some(ImageSource::of(&folder.join(path).display().to_string())?.id)
            }
            (None, name) => name.map(str::to_owned),
        };
        recipe["data"] = data.into();
        recipe.sort_all_objects();
        let device = overrides.device.as_deref().filter(|device| *device != "cpu");
        let key = |recipe: &Value| {
            let text = format!("{recipe}|{device:?}");
            format!("{self}-{:010x}", fnv1a(text.as_bytes()) >> 24)
        };
        (self.key, self.earlier_keys) =
            (key(&recipe), as_before(&recipe).iter().map(key).collect());
        self.recipe = recipe;
        Ok(())
    }

    /// Finds a key with another value in a recorded recipe, and reports both values. Compares only keys that change
    /// numbers and that both recipes have, because the keys differ between versions.
    pub(crate) fn difference(&self, recorded: &Value) -> Option<String> {
        // A record has the width of the network that `dense-small` trains.
        let network = |recipe: &Value| {
            let name = recipe["model"].as_str()?.split('@').next()?;
            Some(Value::from(name))
        };
        let seed = |recipe: &Value| recipe.get("seed").cloned();
        let own = [("model", network(&self.recipe)), ("seed", seed(&self.recipe))];
        for ((key, own), found) in own.into_iter().zip([network(recorded), seed(recorded)]) {
            if let (Some(own), Some(found)) = (own, found)
                && own != found
            {
                return Some(format!("{key} is {found}, not {own}"));
            }
        }
        for section in ["train", "prune"] {
            let own = self.recipe.get(section).and_then(Value::as_object);
            for (key, value) in own.into_iter().flatten() {
                let found = recorded.get(section).and_then(|section| section.get(key));
                let is_free = FREE.contains(&&*format!("{section}.{key}"));
                if let Some(found) = found.filter(|found| *found != value && !is_free) {
                    return Some(format!("{section}.{key} is {found}, not {value}"));
                }
            }
        }
        None
    }
}

impl Overrides {
    /// The settings, `key=value`, with absolute paths.
    ///
    /// # Errors
    /// If a setting is not valid, or would be overridden.
    pub fn settings(&self) -> Result<Vec<String>> {
        Ok(settings(&self.table()?))
    }

    /// The settings as a table, with paths relative to the working directory. Rejects settings that would be
    /// overridden.
    fn table(&self) -> Result<Table> {
        let here = std::env::current_dir().context("cannot determine the working directory")?;
        let mut all = Table::new();
        for text in &self.set {
            let Setting { key, value } = Setting::parse(text)?;
            let mut table = Table::new();
            put(&mut table, &key, value)?;
            let remedy = match () {
                () if has(&table, "seed") => {
                    "has no effect, because the runs have seeds 0, 1 and so on; pass --seeds N for their number"
                }
                () if has(&table, "prune.sparsity") => {
                    "has no effect, because the rows of a suite set their sparsities; change them in suite.toml, or choose some with --only, such as s0.95"
                }
                () if has(&table, "data") && self.data.is_some() => {
                    "has no effect with --data; leave one out"
                }
                () => {
                    // Runs are executed in another folder.
                    place(&mut table, &here);
                    merge(&mut all, table);
                    continue;
                }
            };
            bail!(Usage::new(format!("--set {text} {remedy}")));
        }
        Ok(all)
    }
}
