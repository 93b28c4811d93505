//! From an order for runs of a suite to its results.

use crate::{
    bands,
    date::Utc,
    estimate::Speeds,
    gather::{gather, manifest},
    launcher::{Launcher, StopRequest},
    make::{Making, make},
    place::{self, Keys},
    report,
    results::{FailedRun, Results},
    runs::{RunState, RunsFolder},
    shard::Shard,
    slurm::NoJobId,
    suite::{Job, Overrides, Suite, matches},
    taken::Sources,
    watch::SuiteWatch,
};
use anyhow::{Result, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};
use taper_host::{Usage, machine};
use taper_record::results::{Made, ToolVersions};

/// An order for runs of a suite: which runs, where, and how many at a time.
#[derive(Clone, Debug)]
pub struct Order {
    /// The suite.
    pub suite: Suite,
    /// Runs are executed below `runs` of this folder, and results are written below its `results`.
    pub folder: PathBuf,
    /// Only runs with this pattern in their name, or the run with this name.
    pub only: String,
    /// Changes to every run.
    pub overrides: Overrides,
    /// Results folders with runs to reuse instead of executing them.
    pub with: Vec<PathBuf>,
    /// The results folder; `None` for a folder named by date and host.
    pub out: Option<PathBuf>,
    /// Runs at a time, at least 1.
    pub n_at_once: usize,
    /// Devices that concurrent runs use in turn; empty for the CPU.
    pub devices: Vec<String>,
    /// The part of the runs to execute, without results.
    pub shard: Option<Shard>,
    /// The origin of the order.
    pub by: AskedBy,
}

/// The origin of an order, as manifests record it.
#[derive(Clone, Debug, Default)]
pub struct AskedBy {
    /// The command.
    pub command: String,
    /// Commit of the program.
    pub commit: Option<String>,
    /// Whether its sources differed from that commit.
    pub dirty: bool,
    /// Compiler of the program.
    pub rustc: Option<String>,
}

/// The chosen runs of an order.
pub struct SuitePlan<'a> {
    order: &'a Order,
    /// All runs of the suite.
    jobs: Vec<Job>,
    /// Indices of the chosen runs.
    chosen: Vec<usize>,
    sources: Sources,
    runs: RunsFolder,
    bands: Vec<bands::Band>,
}

/// The chosen runs of a plan, with their current state.
pub struct PlannedRuns<'a> {
    /// The runs, in the order of the suite.
    pub runs: Vec<PlannedRun<'a>>,
    /// Number of finished runs that the estimates use.
    pub n_measured: usize,
}

/// A run of a plan, with its current state.
pub struct PlannedRun<'a> {
    /// The run.
    pub job: &'a Job,
    /// Its state.
    pub state: RunState,
    /// Estimated seconds that are left, if finished runs allow an estimate.
    pub seconds_left: Option<f64>,
    /// Finished epochs.
    pub epochs_done: u64,
    /// The message of the error that ended it, if it has not finished since.
    pub error: Option<String>,
}

/// How the execution of a suite ended.
pub enum SuiteEnd {
    /// The results are written.
    Gathered {
        /// The results.
        results: Box<Results>,
        /// Their folder.
        folder: PathBuf,
    },
    /// The runs of the shard have ended.
    ShardDone {
        /// Runs of the shard that failed.
        failed: Vec<FailedRun>,
        /// Chosen runs of all shards that are left.
        n_left: usize,
    },
    /// Stopped on request; the same order continues from there.
    Interrupted,
}

impl Order {
    /// An order for all runs of a suite, one at a time, in a folder.
    pub fn new(suite: Suite, folder: &Path) -> Self {
        Self {
            suite,
            folder: folder.to_owned(),
            only: String::new(),
            overrides: Overrides::default(),
            with: Vec::new(),
            out: None,
            n_at_once: 1,
            devices: Vec::new(),
            shard: None,
            by: AskedBy::default(),
        }
    }

    /// Lists the runs of the order.
    ///
    /// # Errors
    /// If an experiment, the bands or a setting is not valid, no run is chosen, two rows have the same settings, or a folder of `with` has none of the
    /// runs.
    pub fn plan(&self, launcher: &dyn Launcher) -> Result<SuitePlan<'_>> {
        let bands = bands::load(&self.suite)?;
        let mut jobs =
            self.suite.jobs(&self.folder, &self.overrides, &|job| launcher.resolve(job))?;
        let runs = RunsFolder::of(&self.folder, &self.suite.name);
        jobs.iter_mut().for_each(|job| job.go_on(|key| runs.run(key).is_dir()));
        // The name of a run can occur in the name of another one.
        let names: Vec<String> = jobs.iter().map(Job::to_string).collect();
        let is_name = names.contains(&self.only);
        let is_chosen = |&i: &usize| match is_name {
            true => names[i] == self.only,
            false => matches(&self.only, &names[i]),
        };
        let chosen: Vec<usize> = (0..jobs.len()).filter(is_chosen).collect();
        ensure!(
            !chosen.is_empty(),
            Usage::new(format!(
                "no run of suite '{}' has '{}' in its name; the same command with --dry-run and without --only lists the runs",
                self.suite.name, self.only
            ))
        );
        expect_different(chosen.iter().map(|&i| &jobs[i]))?;
        let sources = Sources::load(&self.with)?;
        sources.expect_some_of(&jobs)?;
        Ok(SuitePlan { order: self, jobs, chosen, sources, runs, bands })
    }
}

/// Rejects rows whose runs would be the same under two names: their comparison would show no difference.
fn expect_different<'a>(jobs: impl Iterator<Item = &'a Job>) -> Result<()> {
    let mut rows: BTreeMap<String, &str> = BTreeMap::new();
    for job in jobs {
        if let Some(other) = rows.insert(job.recipe.to_string(), &job.row) {
            bail!(Usage::new(format!(
                "rows '{other}' and '{}' have the same settings, so their runs would be the same; leave one out with --only, or change suite.toml, --set or --data",
                job.row
            )));
        }
    }
    Ok(())
}

impl SuitePlan<'_> {
    /// The chosen runs, reduced to the shard if there is one.
    fn chosen(&self) -> Vec<&Job> {
        let chosen: Vec<&Job> = self.chosen.iter().map(|&i| &self.jobs[i]).collect();
        match self.order.shard {
            Some(shard) => shard.of(&chosen),
            None => chosen,
        }
    }

    fn state(&self, job: &Job) -> RunState {
        match self.runs.state(&job.key) {
            RunState::New | RunState::Begun if self.sources.have(job) => RunState::Elsewhere,
            state => state,
        }
    }

    /// The chosen runs with their current state.
    pub fn planned(&self) -> PlannedRuns<'_> {
        let speeds = Speeds::of(&self.runs, &self.jobs);
        let planned = self.chosen().into_iter().map(|job| {
            let state = self.state(job);
            PlannedRun {
                job,
                state,
                seconds_left: match state.is_done() {
                    true => Some(0.0),
                    false => speeds.seconds_left(&self.runs, job),
                },
                epochs_done: self.runs.epochs_done(&job.key),
                error: match state {
                    RunState::Begun | RunState::New => self.runs.error(&job.key),
                    _ => None,
                },
            }
        });
        PlannedRuns { runs: planned.collect(), n_measured: speeds.len() }
    }

    /// The folder with the runs.
    pub fn runs_folder(&self) -> &Path {
        self.runs.path()
    }

    /// Executes the unfinished runs, and waits for runs of other processes. Then writes results and report, unless this
    /// is a shard.
    ///
    /// # Errors
    /// If the results folder cannot be used, shards do not fit together, or a folder cannot be written. A run that
    /// fails is not an error.
    pub fn make(
        &self,
        launcher: &dyn Launcher,
        watch: &mut dyn SuiteWatch,
        stop: &StopRequest,
    ) -> Result<SuiteEnd> {
        let order = self.order;
        match order.shard {
            Some(shard) => shard.join(&self.runs, order.by.commit.as_deref())?,
            // Rejected before anything is trained.
            None => drop(self.place(&[])?),
        }
        let chosen = self.chosen();
        let pending: Vec<&Job> =
            chosen.iter().copied().filter(|job| !self.state(job).is_done()).collect();
        let n_epochs = pending.iter().map(|job| job.epochs.unwrap_or(1)).sum();
        let n_done = chosen.len() - pending.len();
        watch.begin(&order.suite.name, chosen.len(), n_done, n_epochs);
        let making = Making {
            launcher,
            runs: &self.runs,
            devices: &order.devices,
            n_at_once: order.n_at_once,
            stop,
        };
        let Some(mut failed) = make(&making, &pending, watch)? else {
            return Ok(SuiteEnd::Interrupted);
        };
        let is_unfinished = |run: &FailedRun| self.runs.state(&run.key) != RunState::Finished;
        if order.shard.is_some() {
            failed.retain(is_unfinished);
            let has_failed = |job: &Job| failed.iter().any(|run| run.key == job.key);
            let is_left = |job: &&Job| !self.state(job).is_done() && !has_failed(job);
            let chosen = self.chosen.iter().map(|&i| &self.jobs[i]);
            let n_left = chosen.filter(is_left).count();
            return Ok(SuiteEnd::ShardDone { failed, n_left });
        }
        // Other suites may have written results meanwhile; the lock prevents it from here on.
        let _lock = place::lock(&order.folder)?;
        // Another process may have finished a run that failed here.
        failed.retain(is_unfinished);
        let mut manifest = manifest(&order.suite, self.made(), self.bands.clone(), failed);
        let mut folder = self.place(&manifest.failed)?;
        let mut results = gather(manifest.clone(), &self.jobs, &self.sources, &self.runs, &folder);
        if results.manifest.failed.len() > manifest.failed.len() {
            // Runs that cannot be read count as failed, and do not replace finished runs.
            folder = self.place(&results.manifest.failed)?;
            manifest.failed.clear();
            let failed = std::mem::take(&mut results.manifest.failed);
            results = gather(manifest, &self.jobs, &self.sources, &self.runs, &folder);
            results.manifest.failed = failed;
        }
        results.save(&folder)?;
        report::write_documents(&results, &folder)?;
        Ok(SuiteEnd::Gathered { results: results.into(), folder })
    }

    /// Records that `n` shards execute the runs, and then calls `submit`, which starts them. The record of earlier shards
    /// is replaced unless one of them is at work. If `submit` fails, the earlier record is restored, unless a job of the
    /// new shards may be queued.
    ///
    /// # Errors
    /// If runs of other shards are at work, or the folder cannot be written; the error of `submit`.
    pub fn begin_shards<T>(
        &self,
        n: NonZeroUsize,
        submit: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let earlier = Shard::record(&self.runs)?;
        if self.jobs.iter().all(|job| self.state(job) != RunState::AtWork) {
            Shard::restore(&self.runs, None)?;
        }
        Shard::first_of(n).join(&self.runs, self.order.by.commit.as_deref())?;
        let submitted = submit();
        if submitted.as_ref().is_err_and(|error| !error.is::<NoJobId>()) {
            Shard::restore(&self.runs, earlier.as_deref())?;
        }
        submitted
    }

    fn made(&self) -> Made {
        let AskedBy { command, commit, dirty, rustc } = self.order.by.clone();
        Made {
            date: Utc::now().timestamp(),
            command,
            commit,
            dirty,
            machine: machine(),
            versions: ToolVersions { rustc, ..ToolVersions::default() },
        }
    }

    /// The results folder.
    fn place(&self, failed: &[FailedRun]) -> Result<PathBuf> {
        let failed: BTreeSet<&str> = failed.iter().map(|run| run.key.as_str()).collect();
        let chosen: BTreeSet<&str> = self.chosen().iter().map(|job| job.key.as_str()).collect();
        let is_there = |job: &&Job| self.state(job).is_done() || chosen.contains(job.key.as_str());
        let keys = self.jobs.iter().filter(is_there).map(|job| job.key.as_str());
        let finished = keys.filter(|key| !failed.contains(key)).collect();
        let keys = Keys { finished, failed };
        let suite = &self.order.suite.name;
        match &self.order.out {
            Some(file) if file.exists() && !file.is_dir() => bail!(Usage::new(format!(
                "{} is not a folder; pass a folder with --out",
                file.display()
            ))),
            Some(dir) if place::may_hold(dir, suite, &keys) => Ok(dir.clone()),
            Some(dir) => bail!(Usage::new(format!(
                "{} contains results with other runs, or files that results would overwrite; pass another --out",
                dir.display()
            ))),
            None => Ok(place::of_runs(&self.order.folder, suite, &Utc::now().date(), &keys)),
        }
    }
}
