//! Fuzz target: a sparse matrix in SciPy's `.npz` format.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = taper::export::check_npz(bytes, &[3, 2, 2, 2]);
});
