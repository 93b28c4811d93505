//! Benchmarks: speed as ratios, measured side by side.
//!
//! Programs take the same requests as lines of JSON: Taper's `crates/taper/benches/session.rs` and its peer
//! `benches/peers/step.py`, of compiled networks `crates/taper/benches/infer.rs` and `benches/peers/infer.py`. They are asked
//! in turn, A B A B, so that whatever disturbs the machine disturbs all of them.

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

/// Between turns. OpenMP's threads spin for some milliseconds after their last work, on a core that the other side's step
/// needs: measured, a step of ours took up to a seventh longer right behind one of PyTorch's.
pub(crate) const REST: Duration = Duration::from_millis(50);
