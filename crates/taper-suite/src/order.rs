//! What is asked of a suite, and the way from there to its results.

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
    suite::{Job, Overrides, Suite, matches},
    taken::Sources,
    watch::SuiteWatch,
};
use anyhow::{Result, bail, ensure};
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};
use taper_host::{Usage, machine};
use taper_record::results::{Made, ToolVersions};

/// What is asked of a suite: which runs, where, how many at a time.
#[derive(Clone, Debug)]
pub struct Order {
    /// The suite.
    pub suite: Suite,
    /// Runs are made below `runs` of this folder, and results go below its `results`.
    pub folder: PathBuf,
    /// Only runs whose name has this pattern in it.
    pub only: String,
    /// What is changed in every run.
    pub overrides: Overrides,
    /// Results folders whose runs are taken instead of being made.
    pub with: Vec<PathBuf>,
    /// The results folder, if it is not to be named by date and host.
    pub out: Option<PathBuf>,
    /// Runs at a time, at least 1.
    pub n_at_once: usize,
    /// Devices that runs at a time take in turn; none for the CPU.
    pub devices: Vec<String>,
    /// The part of the runs that is to be made, without results.
    pub shard: Option<Shard>,
    /// What asks.
    pub by: AskedBy,
}

/// What asks for a suite, as manifests record it.
#[derive(Clone, Debug, Default)]
pub struct AskedBy {
    /// The command.
    pub command: String,
    /// Commit of the program.
    pub commit: Option<String>,
    /// Whether its sources differed from that.
    pub dirty: bool,
    /// Compiler of the program.
    pub rustc: Option<String>,
}

/// The chosen runs of an order.
pub struct SuitePlan<'a> {
    order: &'a Order,
    /// All runs of the suite.
    jobs: Vec<Job>,
    /// Places of those that are chosen.
    chosen: Vec<usize>,
    sources: Sources,
    runs: RunsFolder,
    bands: Vec<bands::Band>,
}

/// The chosen runs of a plan, as they are now.
pub struct PlannedRuns<'a> {
    /// The runs, in the order of the suite.
    pub runs: Vec<PlannedRun<'a>>,
    /// Finished runs that times are estimated by.
    pub n_measured: usize,
}

/// A run of a plan, as it is now.
pub struct PlannedRun<'a> {
    /// The run.
    pub job: &'a Job,
    /// How far it is.
    pub state: RunState,
    /// Seconds that are left, if finished runs say it.
    pub seconds_left: Option<f64>,
    /// Epochs that it has done.
    pub epochs_done: u64,
    /// The error that ended it, in its own words, if it is not finished since.
    pub error: Option<String>,
}

/// How the making of a suite ended.
pub enum SuiteEnd {
    /// Results are written into this folder.
    Gathered {
        /// What they say.
        results: Box<Results>,
        /// Where they are.
        folder: PathBuf,
    },
    /// The runs of the shard are over; those that failed are listed. So many runs of the whole suite are not finished.
    ShardDone {
        /// Runs of the shard that failed.
        failed: Vec<FailedRun>,
        /// Runs of any shard that are left.
        n_left: usize,
    },
    /// Stopped when asked; the same order goes on from there.
    Interrupted,
}

impl Order {
    /// All runs of a suite, one at a time, in a folder.
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

    /// The runs that are asked for.
    ///
    /// # Errors
    /// If an experiment, the bands or a setting is wrong, no run is chosen, or a folder of `with` has none of the runs.
    pub fn plan(&self, launcher: &dyn Launcher) -> Result<SuitePlan<'_>> {
        let bands = bands::load(&self.suite)?;
        let mut jobs =
            self.suite.jobs(&self.folder, &self.overrides, &|job| launcher.resolve(job))?;
        let runs = RunsFolder::of(&self.folder, &self.suite.name);
        jobs.iter_mut().for_each(|job| job.go_on(|key| runs.run(key).is_dir()));
        let is_chosen = |&i: &usize| matches(&self.only, &jobs[i].to_string());
        let chosen: Vec<usize> = (0..jobs.len()).filter(is_chosen).collect();
        ensure!(
            !chosen.is_empty(),
            Usage::new(format!(
                "no run of suite '{}' has '{}' in its name; --dry-run lists them",
                self.suite.name, self.only
            ))
        );
        let sources = Sources::load(&self.with)?;
        sources.expect_some_of(&jobs)?;
        Ok(SuitePlan { order: self, jobs, chosen, sources, runs, bands })
    }
}

impl SuitePlan<'_> {
    /// The chosen runs of the shard, if there is one.
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

    /// The chosen runs as they are now.
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

    /// Makes the runs that are not finished, and waits for those that other processes are at work on. Then writes results and
    /// report, unless this is a shard.
    ///
    /// # Errors
    /// If results cannot go where they should, shards do not fit together, or a folder cannot be written. A run that fails is
    /// no error.
    pub fn make(
        &self,
        launcher: &dyn Launcher,
        watch: &mut dyn SuiteWatch,
        stop: &StopRequest,
    ) -> Result<SuiteEnd> {
        let order = self.order;
        match order.shard {
            Some(shard) => shard.join(&self.runs, order.by.commit.as_deref())?,
            // Refused before anything is trained.
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
        let Some(failed) = make(&making, &pending, watch)? else {
            return Ok(SuiteEnd::Interrupted);
        };
        if order.shard.is_some() {
            let has_failed = |job: &Job| failed.iter().any(|run| run.key == job.key);
            let is_left = |job: &&Job| !self.state(job).is_done() && !has_failed(job);
            let n_left = self.jobs.iter().filter(is_left).count();
            return Ok(SuiteEnd::ShardDone { failed, n_left });
        }
        // Other suites may have got results meanwhile, and none does from here on.
        let _lock = place::lock(&order.folder)?;
        let mut manifest = manifest(&order.suite, self.made(), self.bands.clone(), failed);
        let mut folder = self.place(&manifest.failed)?;
        let mut results = gather(manifest.clone(), &self.jobs, &self.sources, &self.runs, &folder);
        if results.manifest.failed.len() > manifest.failed.len() {
            // Runs that cannot be read have failed, and replace none that was finished.
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

    /// Prepares the folder for so many shards, which begin later, elsewhere. Unlike a shard itself it replaces what is known of
    /// earlier ones, unless a run is at work.
    ///
    /// # Errors
    /// If runs of other shards are at work, or the folder cannot be written.
    pub fn begin_shards(&self, n: NonZeroUsize) -> Result<()> {
        if self.jobs.iter().all(|job| self.state(job) != RunState::AtWork) {
            Shard::forget(&self.runs)?;
        }
        Shard::first_of(n).join(&self.runs, self.order.by.commit.as_deref())
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

    /// Where the results go.
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
                "{} is no folder, and results need one; pass another --out",
                file.display()
            ))),
            Some(dir) if place::may_hold(dir, suite, &keys) => Ok(dir.clone()),
            Some(dir) => bail!(Usage::new(format!(
                "{} holds results with runs that these would not have, or files of no results with names of theirs; pass another --out",
                dir.display()
            ))),
            None => Ok(place::of_runs(&self.order.folder, suite, &Utc::now().date(), &keys)),
        }
    }
}
