//! Compares networks from PyTorch with onnxruntime, interpreted and compiled. Skipped with a message if Python or
//! torchvision is missing.

#[path = "../../../tests/support/python.rs"]
mod python;

use std::{fs, path::Path, process::Command};
use taper_graph::interpret;
use taper_infer::{Engine, Options};

fn numbers(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).expect("a file");
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn networks_from_pytorch_agree_with_onnxruntime() {
    let Some(python) = python::python("onnxruntime, onnxscript, torchvision") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export.py");
    let said = Command::new(python).arg(script).arg(folder.path()).output().expect("Python");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let names = String::from_utf8(said.stdout).expect("text");
    assert_eq!(names.lines().count(), 15);
    for name in names.lines() {
        let file = |end: &str| folder.path().join(format!("{name}.{end}"));
        let graph = taper_onnx::open(file("onnx")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let images = numbers(&file("images"));
        let interpreted = interpret(&graph, &images).expect("a valid graph");
        let options = Options { batch: 2, deterministic: true, ..Options::default() };
        let engine = Engine::compile(&graph, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let compiled = engine.run(&images).expect("two images");
        let want = numbers(&file("results"));
        assert_eq!([interpreted.len(), compiled.len()], [want.len(); 2], "{name}");
        let largest = want.iter().fold(0f32, |most, v| most.max(v.abs()));
        // The results depend on the images.
        let (first, second) = want.split_at(want.len() / 2);
        assert!(first.iter().zip(second).any(|(a, b)| (a - b).abs() > 3e-3 * largest), "{name}");
        for (found, by) in [(interpreted, "interpreter"), (compiled, "engine")] {
            let differences = found.iter().zip(&want).map(|(a, b)| (a - b).abs());
            // NaN counts as the largest difference.
            let most = differences.fold(0f32, |most, d| if d <= most { most } else { d });
            assert!(most <= 1e-5 * largest, "{name}, {by}: {most:e} of {largest}");
            println!("{name}, {by}: {most:e} of {largest}, {} nodes", graph.nodes.len());
        }
    }
}
