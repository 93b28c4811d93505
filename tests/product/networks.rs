//! The pruned networks in `results/`: they have the weights and the accuracy that the results record.

use crate::support::{python, repository, run, skip, succeed};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, process::Command};

/// A network in `results/`, with the row of its run in `runs.csv`.
struct Recorded {
    file: String,
    row: BTreeMap<String, String>,
}

impl Recorded {
    fn number(&self, column: &str) -> f64 {
        self.row[column].parse().expect("a number")
    }
}

/// The networks in all results. Their file names are the keys of their runs.
fn recorded() -> Vec<Recorded> {
    let files = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<PathBuf>>()
    };
    let mut found = Vec::new();
    for results in files(repository().join("results")) {
        for file in files(results.join("networks")) {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            let key = name.strip_suffix(".csr.safetensors").expect("a file in the format csr");
            let table = std::fs::read_to_string(results.join("runs.csv")).expect("a table");
            let mut lines = table.lines().map(|line| line.split(','));
            let header: Vec<&str> = lines.next().expect("a header").collect();
            let row = lines.find(|line| line.clone().next() == Some(key)).expect("its run");
            let row = header.iter().map(ToString::to_string).zip(row.map(str::to_string));
            found.push(Recorded { file: file.display().to_string(), row: row.collect() });
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
    let data = repository().join("../shared/data/cifar100");
    for network in recorded() {
        let file = &network.file;
        let seen = json(&["inspect", file, "--json"]);
        assert_eq!(seen["n_kept"].as_f64(), Some(network.number("n_kept")), "{file}");
        if !data.is_dir() {
            skip(&format!("{} is not there", data.display()));
            continue;
        }
        let seen = json(&["eval", file, "--json", "--data", &data.display().to_string()]);
        let accuracy = seen["test_accuracy"].as_f64().expect("an accuracy");
        // The runs were evaluated with the training kernels, which round differently: three of 10,000 images may differ.
        let wanted = network.number("test_accuracy");
        assert!((accuracy - wanted).abs() < 3.5e-4, "{file}: {accuracy} is not {wanted}");
    }
}

#[test]
fn scipy_reads_the_networks_in_results() {
    let Some(python) = python("numpy, safetensors, scipy.sparse") else { return };
    let count = r#"
import json, math, sys
from safetensors import safe_open
from scipy.sparse import csr_matrix

n = 0
with safe_open(sys.argv[1], "np") as file:
    for name, layer in json.loads(file.metadata()["csr"]).items():
        values, indices, indptr = (file.get_tensor(f"{name}.{end}") for end in ("values", "indices", "indptr"))
        rows, *reads = layer["shape"]
        matrix = csr_matrix((values, indices.astype("int32"), indptr.astype("int32")), (rows, math.prod(reads)))
        matrix.check_format()
        n += matrix.count_nonzero()
print(n)
"#;
    for network in recorded() {
        let said = run(Command::new(&python).args(["-c", count, &network.file]));
        assert_eq!(said.code, Some(0), "{}: {}", network.file, said.err);
        let seen = said.out.trim().parse::<f64>().expect("a number");
        assert_eq!(seen, network.number("n_kept"), "{}", network.file);
    }
}
