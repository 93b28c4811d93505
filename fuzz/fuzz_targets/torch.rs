//! Fuzz target: PyTorch state dicts. The input is read twice: as a file of the legacy format, and as the pickle in a
//! zip archive. Mutations of a whole archive would only break the zip format.
#![no_main]

use std::io::{Cursor, Write};
use taper::export::check_torch;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let shapes = [("a.weight".to_string(), vec![3, 2, 2, 2]), ("a.bias".to_string(), vec![3])];
    let shapes = shapes.into();
    let _ = check_torch(bytes, &shapes);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("s/data.pkl", bytes), ("s/data/0", &[0; 96]), ("s/data/1", &[0; 12])] {
        zip.start_file(name, options).expect("an entry");
        zip.write_all(content).expect("its content");
    }
    let file = zip.finish().expect("a zip").into_inner();
    let _ = check_torch(&file, &shapes);
});
