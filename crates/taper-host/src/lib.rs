//! System functions for the programs `taper` and `cargo xtask`: exit codes, signals, memory, the machine, cargo.
#![forbid(unsafe_code)]

mod cargo;
mod exit;
mod machine;
mod memory;
mod signals;

pub use cargo::cargo;
pub use exit::{Exit, Usage};
pub use machine::{host, machine};
pub use memory::peak_memory;
pub use signals::{kill_group, lead_group, on_stop, terminate, terminate_ranks};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
