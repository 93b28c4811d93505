//! The trait that executes runs, since this crate has no tensors.

use crate::suite::Job;
use anyhow::Result;
use serde_json::Value;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use taper_record::Lock;

/// Executes runs.
///
/// [`Program`](crate::Program) starts `taper train` for each run. A launcher that trains in this process takes a few
/// lines with `taper-experiment`; its example `suite` shows it.
pub trait Launcher: Sync {
    /// The recipe of a run with a value for each key, as `taper train --dry-run` prints it. Runs with equal recipes
    /// have equal keys.
    ///
    /// # Errors
    /// If the experiment is not valid.
    fn resolve(&self, job: &Job) -> Result<Value>;

    /// Executes a run, or resumes it. It ends early, with a checkpoint, if [`StopRequest`] is raised.
    ///
    /// # Errors
    /// If no run can be started at all. A run that fails is an outcome, not an error.
    fn run(&self, job: &Job, launch: &Launch) -> Result<RunOutcome>;
}

/// Where and how a run is executed.
pub struct Launch<'a> {
    /// The run folder, which may exist already.
    pub folder: &'a Path,
    /// The file for the log of the run.
    pub log: &'a Path,
    /// The device, if it is not the CPU.
    pub device: Option<&'a str>,
    /// Keeps other processes from the run. A child process that executes the run should hold it as well.
    pub lock: &'a Lock,
    /// Requests to end early.
    pub stop: &'a StopRequest,
    /// Called with the number of finished epochs.
    pub at: &'a (dyn Fn(u64) + Sync),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunOutcome {
    /// `result.json` exists.
    Finished,
    /// It ended in an error.
    Failed {
        /// The reason, as text.
        reason: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It was stopped on request, and resumes when it is executed again.
    Interrupted,
}

/// Requests to stop, shared by clones.
#[derive(Clone, Debug, Default)]
pub struct StopRequest(Arc<AtomicU32>);

impl StopRequest {
    /// Adds a request.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Adds a request if there is none.
    pub(crate) fn raise_once(&self) {
        self.0.fetch_max(1, Ordering::SeqCst);
    }

    /// The number of requests.
    pub fn n_raised(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether there is a request.
    pub fn is_raised(&self) -> bool {
        self.n_raised() > 0
    }
}
