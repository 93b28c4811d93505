//! Fuzz target: Taper's own checkpoints, pruned and training ones.
#![no_main]

use taper::train::checkpoint::{PrunedCheckpoint, TrainingCheckpoint};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file.safetensors");
    std::fs::write(&path, bytes).expect("a file");
    let _ = PrunedCheckpoint::load(&path);
    let _ = TrainingCheckpoint::load(&path);
});
