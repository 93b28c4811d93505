//! The files of a training run: what is in them, and how they are written and read.
//!
//! | file | type | what |
//! | --- | --- | --- |
//! | `run.json` | [`run::RunRecord`] | recipe, data, and what computed the steps |
//! | `result.json` | [`result::RunResult`] | what the run came to; the last file to be written |
//! | `metrics.csv` | [`epoch::EpochMetrics`] | a line for each epoch |
//! | `steps.jsonl` | [`step::StepMetrics`] | a line for each step |
//! | `masks.csv` | [`masks::MaskChange`] | a line for each step that has chosen masks |
//! | `timing.csv` | [`timing::EpochTime`] | a line for each epoch; the only file with a clock but `result.json` |
//! | `significance.csv` | [`fate::FateRow`] | what became of pruned weights |
//!
//! [`RunFiles`] reads those of a folder. Files of earlier versions lack some fields, which are then empty; unknown fields are
//! passed over.
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
pub use lock::Lock;
pub use machine::Machine;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
