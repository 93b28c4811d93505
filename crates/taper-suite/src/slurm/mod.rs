//! Slurm: a batch script for all runs of a suite, as an array of jobs, and a script that gathers their results.

mod quote;
mod script;
mod submit;
#[cfg(all(test, unix))]
mod tests;

pub(crate) use script::LEAD;
pub use script::Submission;
pub(crate) use submit::NoJobId;
pub use submit::QueuedRuns;
