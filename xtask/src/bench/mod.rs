//! Benchmarks: speed as ratios, measured side by side.
//!
//! Two programs take the same requests as lines of JSON: Taper's `crates/taper/benches/session.rs` and its peer
//! `benches/peers/step.py`. They are asked in turn, A B A B, so that whatever disturbs the machine disturbs both.

mod process;
pub(crate) mod suite;
mod torch;

pub(crate) use process::Process;
pub(crate) use torch::{torch_python, torch_version};
