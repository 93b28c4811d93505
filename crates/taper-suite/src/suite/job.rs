//! Jobs: the single runs of a suite, and their keys.

use super::{ImageSource, Suite, hash::fnv1a};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fmt,
    path::{Path, PathBuf},
};
use taper_compose::{Setting, has, merge, place, put, settings};
use taper_host::Usage;
use taper_record::later::{FREE, as_before};
use toml::Table;

/// What the command line changes in every job, and so in its key.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Images other than the experiments'.
    pub data: Option<ImageSource>,
    /// Device other than the CPU: `cuda`, `cuda:N` or `metal`.
    pub device: Option<String>,
    /// Settings on top of every experiment, `key=value`.
    pub set: Vec<String>,
}

/// One training run to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name of the run folder: readable, and new whenever the recipe is, defaults included.
    pub key: String,
    /// What results of earlier versions, which knew fewer keys of recipes, call it.
    pub(crate) earlier_keys: Vec<String>,
    /// Name of the row.
    pub row: String,
    /// Its sparsity; none for a row without.
    pub sparsity: Option<f64>,
    /// Its seed.
    pub seed: u64,
    /// Experiment file.
    pub experiment: PathBuf,
    /// Settings on top of it, `key=value`, of the suite or the command line: other rows may read them, so that it is no error
    /// where this one does not.
    pub set_shared: Vec<String>,
    /// Settings of the row, on top of those.
    pub set: Vec<String>,
    /// Images other than the experiment's: a name or a folder.
    pub data: Option<String>,
    /// Epochs by the recipe, if it says; for progress only, as is the next.
    pub epochs: Option<u64>,
    /// Steps after which the recipe ends a run before that.
    pub max_steps: Option<u64>,
    /// The recipe with a value for each key, as its key was made of it.
    pub(crate) recipe: Value,
}

/// Gives the recipe of a job with a value for each key, as `taper train --dry-run` prints it.
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
    /// All runs of the suite: rows × sparsities × seeds, in this order. Relative data of experiments are meant from `folder`.
    ///
    /// # Errors
    /// When an experiment cannot be read or resolved, or a setting of the command line is none or would do nothing.
    pub(crate) fn jobs(
        &self,
        folder: &Path,
        overrides: &Overrides,
        resolve: Resolve,
    ) -> Result<Vec<Job>> {
        let mut jobs = self.written_jobs(overrides)?;
        // A process each, maybe: some at a time, as a matrix has hundreds.
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

    /// The jobs by what is written, without what their experiments leave out.
    fn written_jobs(&self, overrides: &Overrides) -> Result<Vec<Job>> {
        let on_top = overrides.table()?;
        self.check_over_grids(&on_top)?;
        let mut jobs = Vec::new();
        for (row, entry, mut set) in self.entries() {
            let mut shared = self.set.clone();
            for table in [&mut shared, &mut set] {
                merge(table, on_top.clone());
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
    /// All that is on top of its experiment and [`set_shared`](Self::set_shared), `key=value`: the settings of the row, sparsity,
    /// seed and data.
    pub fn settings(&self) -> Vec<String> {
        let mut all = self.set.clone();
        all.extend(self.sparsity.map(|sparsity| format!("prune.sparsity={sparsity}")));
        all.extend(self.data.iter().map(|data| format!("data={}", toml::Value::from(&**data))));
        all.push(format!("seed={}", self.seed));
        all
    }

    /// Takes the key that an earlier version gave the run, where it has a folder by that and none by its own: it goes on there.
    pub(crate) fn go_on(&mut self, has_folder: impl Fn(&str) -> bool) {
        let earlier = self.earlier_keys.iter_mut().find(|key| has_folder(key));
        if let Some(earlier) = earlier.filter(|_| !has_folder(&self.key)) {
            std::mem::swap(earlier, &mut self.key);
        }
    }

    /// Fills in the key, the epochs and the limit of steps.
    ///
    /// The key is the job's readable name and a hash of all that decides its numbers: the recipe with a value for each key,
    /// in which a checkpoint to start from goes by its content, as does here a folder of data.
    fn resolve(&mut self, folder: &Path, overrides: &Overrides, resolve: Resolve) -> Result<()> {
        let mut recipe = resolve(self)?;
        self.epochs = recipe["train"]["epochs"].as_u64();
        self.max_steps = recipe["train"]["max_steps"].as_u64().filter(|&n| n > 0);
        let data = match (&overrides.data, recipe["data"].as_str()) {
            (Some(data), _) => Some(data.id.clone()),
            (None, Some(path)) if folder.join(path).is_dir() => {
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

    /// A key in which a recorded recipe differs from this one, with both values; of keys that both have, as versions differ in
    /// those, and of those alone that change numbers.
    pub(crate) fn difference(&self, recorded: &Value) -> Option<String> {
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
    /// The settings as a table, with paths meant from where the user stands; refuses those that others would override.
    fn table(&self) -> Result<Table> {
        let here = std::env::current_dir().context("cannot tell the working directory")?;
        let mut all = Table::new();
        for text in &self.set {
            let Setting { key, value } = Setting::parse(text)?;
            let mut table = Table::new();
            put(&mut table, &key, value)?;
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
                () => {
                    // Runs are made elsewhere.
                    place(&mut table, &here, &[]);
                    merge(&mut all, table);
                    continue;
                }
            };
            bail!(Usage::new(format!("--set {text} {remedy}")));
        }
        Ok(all)
    }
}
