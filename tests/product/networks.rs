//! The pruned networks in `results/`: they have the weights and the accuracy that the results record.

use crate::support::{cifar100, code, python, repository, run, skip, succeed};
use serde_json::Value;
use std::{path::Path, process::Command};
use taper_suite::{Results, RunLine};

/// The files of networks in all results, with their runs. The name of a file is the key of its run.
fn networks() -> Vec<(String, RunLine)> {
    let files = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for folder in files(&repository().join("results")) {
        for file in files(&folder.join("networks")) {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            let key = name.strip_suffix(".csr.safetensors").expect("a file in the format csr");
            let runs = Results::load(&folder).expect("results").runs;
            let run = runs.into_iter().find(|run| run.key == key).expect("its run");
            found.push((file.display().to_string(), run));
        }
    }
    assert!(!found.is_empty(), "no network in results");
    found
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args).out).expect("JSON")
}

#[test]
fn networks_in_results_have_the_recorded_weights_and_accuracy() {
    let data = cifar100().map(|folder| folder.display().to_string());
    if data.is_none() {
        skip(
            "CIFAR-100 is not on this machine, so the accuracy of networks in results is not measured",
        );
    }
    for (file, run) in networks() {
        assert_eq!(json(&["inspect", &file, "--json"])["n_kept"], run.n_kept, "{file}");
        let Some(data) = &data else { continue };
        let seen = json(&["eval", &file, "--json", "--data", data]);
        let accuracy = seen["test_accuracy"].as_f64().expect("an accuracy");
        // Runs are evaluated with the training kernels, which round differently: three of 10,000 images may differ.
        let wanted = run.test_accuracy;
        assert!((accuracy - wanted).abs() < 3.5e-4, "{file}: {accuracy} is not {wanted}");
    }
}

#[test]
fn scipy_reads_the_networks_in_results() {
    let Some(python) = python("numpy, safetensors, scipy.sparse") else { return };
    let page = std::fs::read_to_string(repository().join("docs/src/formats.md")).expect("a page");
    let blocks = code(&page, "python");
    let book = blocks.iter().find(|block| block.contains("csr_matrix(")).expect("its code");
    for (file, line) in networks() {
        // The code in the book ends in the body of a loop.
        let script = format!(
            "n = 0\n{}        matrix.check_format()\n        n += matrix.count_nonzero()\nprint(n)",
            book.replace("pruned.csr.safetensors", &file)
        );
        let said = run(Command::new(&python).args(["-c", &script]));
        assert_eq!(said.code, Some(0), "{file}: {}", said.err);
        assert_eq!(said.out.trim(), line.n_kept.to_string(), "{file}");
    }
}
