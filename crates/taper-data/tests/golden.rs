//! Decoded images against values computed elsewhere. The folder is that of `TAPER_GOLDEN`, or `../shared/golden`
//! beside the repository; without either the test is skipped.

use std::path::{Path, PathBuf};
use taper_data::{Cifar, Split, decode_png, read_parquet};

fn folder() -> Option<PathBuf> {
    let dir = match std::env::var_os("TAPER_GOLDEN") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden"),
    };
    let dir = dir.join("loaders");
    if !dir.is_dir() {
        eprintln!("skipped: there is no {}", dir.display());
        return None;
    }
    Some(dir)
}

fn pngs(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pngs(&path, found);
        } else if path.extension().is_some_and(|e| e == "png") {
            found.push(path);
        }
    }
}

#[test]
fn golden_parquet_files_and_pngs_agree() {
    let Some(dir) = folder() else { return };
    let read = |name: &str| -> Split {
        let (cifar, split) = read_parquet(&dir.join(name)).unwrap();
        assert_eq!(cifar, Cifar::Hundred);
        split
    };
    let split = read("train.snappy.parquet");
    assert_eq!(split, read("train.plain.parquet"));

    let mut files = Vec::new();
    pngs(&dir.join("train"), &mut files);
    assert_eq!(files.len(), split.len());
    for file in files {
        let class = file.parent().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap();
        let image = decode_png(&std::fs::read(&file).unwrap()).unwrap();
        let row = (0..split.len()).find(|&i| split.image(i) == Some(&image.pixels));
        let row = row.unwrap_or_else(|| panic!("{} is in no row", file.display()));
        assert_eq!(Cifar::Hundred.class_names()[split.labels()[row] as usize], class);
    }
}
