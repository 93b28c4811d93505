//! Checkpoints: training checkpoints with everything that is needed to resume, and pruned networks alone.
//!
//! Both are safetensors files. They are written to a temporary file, synced and renamed. If the process is killed at
//! any moment, the old or the new file remains, never a part of one. The bytes depend only on the content. Readers do
//! not trust files: they allocate no more than the file contains, and report exactly what is wrong.

mod file;
mod keep;
mod pruned;
mod training;

pub use file::{CheckpointError, RawFile, RawTensor, TensorFile};
pub use keep::Checkpoints;
pub use pruned::PrunedCheckpoint;
pub use training::{Snapshot, TrainingCheckpoint};
