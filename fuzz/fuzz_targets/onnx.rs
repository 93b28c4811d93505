//! The initializers of an ONNX file, dense and sparse.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let shapes = [("a.weight".to_string(), vec![3, 2, 2, 2]), ("a.bias".to_string(), vec![3])];
    let _ = taper::export::check_onnx(bytes, &shapes.into());
});
