//! Trains a network from an experiment: a TOML file that sets the recipe, the data and the pruner. A run has a folder,
//! resumes bit-identically, and ends with a result.
//!
//! An [`Experiment`] is a file with settings on top. [`resolve`](Experiment::resolve) fills in a value for each key. A
//! [`Training`] runs it. Errors come from the crates below, with a context; usage errors have [`taper_host::Usage`]
//! among their causes.
#![forbid(unsafe_code)]

mod baked;
mod best;
mod compute;
mod counts;
mod difference;
mod error;
mod experiment;
mod folder;
mod images;
mod ranks;
mod setup;
pub mod source;
mod spec;
mod training;

pub use compute::{BUILT_FROM, BuiltFrom, Compute};
pub use counts::{layers, totals};
pub use difference::difference;
pub use error::usage;
pub use experiment::Experiment;
pub use images::open_data;
pub use setup::Setup;
pub use spec::{Method, Resolved, Spec, keys_of, methods};
pub use taper::train::{Callbacks, callback::Interrupt};
pub use training::{Ended, Training};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
