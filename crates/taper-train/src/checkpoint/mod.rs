//! Checkpoints: everything needed to go on, or just the pruned network.
//!
//! Both are safetensors files, written to a temporary file, synced and renamed, so that a kill at any moment leaves
//! the old file or the new one. The bytes depend on the content alone. A reader takes every file for hostile:
//! it allocates nothing that the file does not hold, and names what is wrong.

mod file;
mod keep;
mod pruned;
mod training;

pub use file::{CheckpointError, RawFile, RawTensor, TensorFile};
pub use keep::Checkpoints;
pub use pruned::PrunedCheckpoint;
pub use training::{Snapshot, TrainingCheckpoint};
