//! An ONNX file: its initializers, dense and sparse, and its graph.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let shapes = [("a.weight".to_string(), vec![3, 2, 2, 2]), ("a.bias".to_string(), vec![3])];
    let _ = taper::export::check_onnx(bytes, &shapes.into());
    if let Ok(graph) = taper_onnx::read(bytes, None) {
        assert_eq!(graph.check(), Ok(()));
    }
});
