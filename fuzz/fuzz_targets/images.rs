//! Fuzz target: readers of images, that is PNG, parquet and CIFAR's binary format.
#![no_main]

use taper::data::{Cifar, decode_png, read_binary, read_parquet};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = decode_png(bytes);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).expect("a file");
    let _ = read_parquet(&path);
    let _ = read_binary(&path, Cifar::Hundred);
});
