//! A state dict of PyTorch's: the bytes are its pickle, as changes to a whole file would only break the zip around it.
#![no_main]

use std::io::{Cursor, Write};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Candle's reader may panic, which is caught and told as an error; the fuzzer's hook would end the process before that.
    // What is not caught still ends it.
    std::panic::set_hook(Box::new(|_| {}));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("s/data.pkl", bytes), ("s/data/0", &[0; 96]), ("s/data/1", &[0; 12])] {
        zip.start_file(name, options).expect("an entry");
        zip.write_all(content).expect("its content");
    }
    let file = zip.finish().expect("a zip").into_inner();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.pt");
    std::fs::write(&path, file).expect("a file");
    let shapes = [("a.weight".to_string(), vec![3, 2, 2, 2]), ("a.bias".to_string(), vec![3])];
    let _ = taper::export::open(&path).map(|opened| opened.tensors(&shapes.into()).is_ok());
});
