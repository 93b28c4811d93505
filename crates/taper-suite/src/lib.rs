//! Suites of training runs: the rows, sparsities and seeds of a `suite.toml`. Any number of processes that share a
//! folder execute the runs. The results are gathered, checked by bands, and reported with tables and figures.
//!
//! [`find`] reads a suite, an [`Order`] selects its runs and their folder, [`Order::plan`] lists the runs, and
//! [`SuitePlan::make`] executes the unfinished ones with a [`Launcher`]. [`Results`] is the content of a results
//! folder.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "only for figures and texts")]

mod bands;
mod cells;
mod collect;
mod date;
mod estimate;
mod figure;
mod gain;
mod gather;
mod launcher;
mod make;
mod order;
mod page;
pub mod place;
mod program;
mod relative;
pub mod report;
mod results;
mod runs;
mod shard;
mod shipped;
mod slurm;
mod sparsity;
mod suite;
pub mod summary;
pub mod tables;
mod taken;
#[cfg(test)]
mod testing;
mod watch;

pub use bands::Band;
pub use cells::{Cell, Verdict, cells, exit, shown};
pub use date::Utc;
pub use launcher::{Launch, Launcher, RunOutcome, StopRequest};
pub use order::{AskedBy, Order, PlannedRun, PlannedRuns, SuiteEnd, SuitePlan};
pub use program::Program;
pub use results::{
    CurveLine, FailedRun, FateLine, LayerLine, MadeOn, Manifest, Results, RunLine, StepLine,
    TakenFrom,
};
pub use runs::RunState;
pub use shard::Shard;
pub use shipped::{available, find};
pub use slurm::{QueuedRuns, Submission};
pub use suite::{ImageSource, Job, Overrides, Suite, SuiteRow, matches};
pub use watch::SuiteWatch;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
