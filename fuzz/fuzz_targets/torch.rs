//! A state dict of PyTorch's. Candle's reader takes a file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Candle's reader may panic, which is caught and told as an error; the fuzzer's hook would end the process before that.
    // What is not caught still ends it.
    std::panic::set_hook(Box::new(|_| {}));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.pt");
    std::fs::write(&path, bytes).expect("a file");
    let shapes = [("a.weight".to_string(), vec![3, 2, 2, 2])];
    let _ = taper::export::open(&path).map(|opened| opened.tensors(&shapes.into()).is_ok());
});
