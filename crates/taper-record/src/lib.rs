//! The files of a training run as Rust types, with functions to read and write them.
//!
//! | file | type | content |
//! | --- | --- | --- |
//! | `run.json` | [`run::RunRecord`] | recipe, data, programs and machines |
//! | `result.json` | [`result::RunResult`] | the result of the run; written last |
//! | `metrics.csv` | [`epoch::EpochMetrics`] | a line for each epoch |
//! | `steps.jsonl` | [`step::StepMetrics`] | a line for each step |
//! | `masks.csv` | [`masks::MaskChange`] | a line for each step with a mask update |
//! | `timing.csv` | [`timing::EpochTime`] | the duration of each epoch; only this file and `result.json` contain times |
//! | `significance.csv` | [`fate::FateRow`] | how many pruned weights were kept again |
//!
//! [`RunFiles`] reads and writes the files of a folder. Fields that an earlier version did not write are empty. Unknown
//! fields are ignored.
#![forbid(unsafe_code)]

mod atomic;
pub mod epoch;
mod error;
pub mod fate;
mod files;
pub mod later;
mod lock;
mod machine;
pub mod masks;
mod number;
pub mod result;
pub mod results;
pub mod rows;
pub mod run;
pub mod step;
pub mod timing;

pub use atomic::{remove_partial_files, write_atomically, write_file, write_together};
pub use error::RecordError;
pub use files::{NAMES, RunFiles};
pub use lock::{Lock, LockError};
pub use machine::Machine;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
