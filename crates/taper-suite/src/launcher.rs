//! Who makes the runs: a trait, since this crate knows no tensors.

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

/// Makes runs.
///
/// [`Program`](crate::Program) starts `taper train` for each. One that trains in this process is a few lines over
/// `taper-experiment`, as its example `suite` shows.
pub trait Launcher: Sync {
    /// The recipe of a run with a value for each key, as `taper train --dry-run` prints it. Runs of equal recipes have equal
    /// keys.
    ///
    /// # Errors
    /// If there is no such recipe.
    fn resolve(&self, job: &Job) -> Result<Value>;

    /// Makes a run, or goes on with it, and ends early, with a checkpoint, when [`StopRequest`] says so.
    ///
    /// # Errors
    /// If nothing of the kind can be run. A run that fails is an outcome, not an error.
    fn run(&self, job: &Job, launch: &Launch) -> Result<RunOutcome>;
}

/// Where and how a run is made.
pub struct Launch<'a> {
    /// The run folder, which may be there.
    pub folder: &'a Path,
    /// A file for what the run says.
    pub log: &'a Path,
    /// The device, if it is not the CPU.
    pub device: Option<&'a str>,
    /// What keeps other processes from the run. A process that makes it in the place of this one should hold it as well.
    pub lock: &'a Lock,
    /// Whether to end early.
    pub stop: &'a StopRequest,
    /// Is told the epochs that are done.
    pub at: &'a (dyn Fn(u64) + Sync),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunOutcome {
    /// `result.json` is there.
    Finished,
    /// It ended in an error.
    Failed {
        /// Why, in words.
        reason: String,
        /// The last lines of what it said.
        log: Vec<String>,
    },
    /// It was asked to stop, and goes on when it is made again.
    Interrupted,
}

/// Requests to stop, shared by clones.
#[derive(Clone, Debug, Default)]
pub struct StopRequest(Arc<AtomicU32>);

impl StopRequest {
    /// Asks once more.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks, if nobody has.
    pub(crate) fn raise_once(&self) {
        self.0.fetch_max(1, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub fn n_raised(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether it was asked.
    pub fn is_raised(&self) -> bool {
        self.n_raised() > 0
    }
}
