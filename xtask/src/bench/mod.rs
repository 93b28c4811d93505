//! Benchmarks: speed relative to peers, measured alternately.
//!
//! The programs read the same requests, one line of JSON each. For training they are `crates/taper/benches/session.rs`
//! and its peer `benches/peers/step.py`; for compiled networks, `crates/taper/benches/infer.rs` and
//! `benches/peers/infer.py`. They run in turn, A B A B: a disturbance of the machine then affects all of them.

pub(crate) mod infer;
pub(crate) mod methods;
mod peer;
mod process;
pub(crate) mod ranks;
pub(crate) mod suite;
mod table;
mod torch;

use std::time::Duration;

pub(crate) use peer::Peer;
pub(crate) use process::{Process, build};
pub(crate) use table::{Table, judge};
pub(crate) use torch::{TorchVariant, torch_python};

/// Pause between turns. OpenMP threads keep spinning for some milliseconds after their last work and occupy cores.
/// Without the pause, a step of Taper right after one of PyTorch took up to a seventh longer.
pub(crate) const REST: Duration = Duration::from_millis(50);
