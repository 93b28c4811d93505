//! Compares decoded images with reference values. The folder of the values is `TAPER_GOLDEN`. Without this variable,
//! two folders are tested: `testdata/golden` of the repository, and, if it exists, `../shared/golden` next to the
//! repository.

use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};
use taper_data::{Cifar, Loader, LoaderConfig, Normalisation, Split, decode_png, read_parquet};

fn folders() -> Vec<PathBuf> {
    let has_loaders = |dir: &PathBuf| {
        let is_there = dir.join("loaders").is_dir() && dir.join("loaders.safetensors").is_file();
        if !is_there {
            eprintln!("skipped: there are no golden values of loaders in {}", dir.display());
        }
        is_there
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if let Some(dir) = std::env::var_os("TAPER_GOLDEN") {
        // Cargo runs tests in the folder of their crate, but a relative path is relative to the repository.
        let dir = root.join(dir);
        assert!(dir.is_dir(), "there is no folder {} of golden values", dir.display());
        return Some(dir).filter(has_loaders).into_iter().collect();
    }
    let committed = root.join("testdata/golden");
    assert!(has_loaders(&committed), "the golden values of loaders are missing in the repository");
    let beside = Some(root.join("../shared/golden")).filter(has_loaders);
    std::iter::once(committed).chain(beside).collect()
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
    for dir in folders() {
        compare_files(&dir.join("loaders"));
    }
}

fn compare_files(dir: &Path) {
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

#[test]
fn golden_pixels_labels_and_normalised_values_are_reproduced() {
    for dir in folders() {
        compare_values(&dir);
    }
}

fn compare_values(dir: &Path) {
    let file = std::fs::read(dir.join("loaders.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&file).unwrap();
    let (_, split) = read_parquet(&dir.join("loaders/train.snappy.parquet")).unwrap();

    let images = golden.tensor("images").unwrap();
    assert_eq!(images.shape(), [split.len(), 32, 32, 3]);
    for (i, image) in images.data().chunks(3072).enumerate() {
        let planes: Vec<u8> =
            (0..3).flat_map(|c| image.iter().skip(c).step_by(3).copied()).collect();
        assert_eq!(split.image(i).unwrap(), planes, "image {i}");
    }
    for (name, ours) in
        [("fine_labels", split.labels()), ("coarse_labels", split.coarse().unwrap())]
    {
        let tensor = golden.tensor(name).unwrap();
        let theirs: Vec<u32> = match tensor.dtype() {
            Dtype::I64 => tensor
                .data()
                .chunks(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32)
                .collect(),
            Dtype::I32 => tensor
                .data()
                .chunks(4)
                .map(|b| i32::from_le_bytes(b.try_into().unwrap()) as u32)
                .collect(),
            other => panic!("{name} has type {other:?}"),
        };
        assert_eq!(ours, theirs, "{name}");
    }

    let tensor = golden.tensor("normalised_first4").unwrap();
    let theirs: Vec<f32> =
        tensor.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let loader =
        Loader::new(split, LoaderConfig::evaluation(tensor.shape()[0], Normalisation::FEATHER))
            .unwrap();
    let ours = loader.epoch(0).next().unwrap();
    assert_eq!(ours.dims(), tensor.shape());
    for (i, (a, b)) in ours.images.iter().zip(&theirs).enumerate() {
        assert!((a - b).abs() <= 1e-6, "value {i} is {a}, but should be {b}");
    }
}
