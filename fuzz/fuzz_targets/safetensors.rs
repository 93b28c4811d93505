//! Fuzz target: exported safetensors files, that is dense, bitmask and CSR.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let shapes = [("a.weight".to_string(), vec![3, 2, 2, 2]), ("a.bias".to_string(), vec![3])];
    let _ = taper::export::check_safetensors(bytes, &shapes.into());
});
