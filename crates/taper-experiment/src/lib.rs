//! From an experiment to a trained network: a file in TOML with a recipe, data and pruner by its words, a run folder that
//! is resumed to the bit, and a result.
//!
//! An [`Experiment`] is a file and settings on top of it; [`resolve`](Experiment::resolve) gives it a value for each key; a
//! [`Training`] runs it. Errors are those of the crates below, with what was being done; those of usage have
//! [`taper_host::Usage`] among their causes.
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
pub use spec::{Method, Resolved, Spec, methods};
pub use taper::train::{Callbacks, callback::Interrupt};
pub use training::{Ended, Training};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
