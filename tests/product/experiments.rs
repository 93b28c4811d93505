//! Checks that the included experiments and suites can be run, and that results name their origin.

use crate::support::{self, Folder, files, read, repository, run, taper};
use serde_json::Value;
use std::path::Path;

#[test]
fn every_experiment_trains() {
    let folder = Folder::new();
    let noise = support::cifar_of_noise(&folder);
    let experiments = files(&repository().join("experiments"), ".toml");
    let mut n_trained = 0;
    for path in experiments {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if ["suite", "bands", "base"].contains(&name.as_str()) {
            continue;
        }
        let file = path.display().to_string();
        let out = folder.text(&format!("{n_trained}"));
        // Experiments on a data set that must be downloaded train on random images of the same shape.
        let text = read(&path) + &read(&path.with_file_name("base.toml"));
        let data = if text.contains("\"cifar100\"") { noise.as_str() } else { "digits" };
        let said = run(&mut taper(&[
            "train",
            &file,
            "--data",
            data,
            "--quiet",
            "--max-steps",
            "1",
            "--set",
            "train.limit=32",
            "--out",
            &out,
        ]));
        assert_eq!(said.code, Some(0), "{file}: {}", said.err);
        n_trained += 1;
    }
    assert!(n_trained >= 4);
}

/// The settings of a suite, row or variant, as arguments: `flag` before each.
fn settings(entry: &toml::Table, flag: &str) -> Vec<String> {
    let mut set = Vec::new();
    let sections = entry.get("set").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    for (name, value) in sections {
        match value {
            toml::Value::Table(section) => {
                set.extend(section.iter().map(|(key, value)| format!("{name}.{key}={value}")));
            }
            value => set.push(format!("{name}={value}")),
        }
    }
    set.into_iter().flat_map(|set| [flag.to_string(), set]).collect()
}

#[test]
fn settings_of_suites_are_valid() {
    let suites = files(&repository().join("experiments"), "suite.toml");
    let mut n_checked = 0;
    for path in suites {
        let table = |path: &Path| -> toml::Table { read(path).parse().expect("TOML") };
        let (mut suite, mut folder) = (table(&path), path.clone());
        // Rows and variants come from the base suite; the settings of the extending suite are applied on top.
        let own = settings(&suite, "--set-shared");
        let mut inherited = Vec::new();
        if let Some(base) = suite.get("extends").and_then(toml::Value::as_str) {
            folder = path.with_file_name(base);
            suite = table(&folder);
            inherited = settings(&suite, "--set-shared");
        }
        let list = |key: &str| {
            let entries =
                suite.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
            entries
                .iter()
                .map(|entry| entry.as_table().expect("a table").clone())
                .collect::<Vec<_>>()
        };
        let none = toml::Table::new();
        let variants = list("variant");
        for row in list("row") {
            let text = |key: &str| row.get(key).and_then(toml::Value::as_str);
            let name = text("name").expect("a name");
            if ["dense", "dense-small"].contains(&name) || name.starts_with("str-") {
                continue; // These methods have no schedule.
            }
            let experiment =
                folder.with_file_name(format!("{}.toml", text("experiment").unwrap_or(name)));
            let file = experiment.display().to_string();
            for variant in variants.iter().chain([&none]) {
                let set: Vec<String> = inherited
                    .iter()
                    .chain(&own)
                    .cloned()
                    .chain([&row, variant].into_iter().flat_map(|entry| settings(entry, "--set")))
                    .collect();
                let mut args = vec!["schedule", "plot", &file, "--json", "--steps", "20"];
                // N:M patterns determine the sparsity themselves.
                let sparsities = row.get("sparsities").and_then(toml::Value::as_array);
                let last = match sparsities {
                    Some(own) => own.last().map(toml::Value::to_string),
                    None => Some("0.98".into()),
                };
                if let Some(last) = &last {
                    args.extend(["--sparsity", last]);
                }
                args.extend(set.iter().map(String::as_str));
                let said = run(&mut taper(&args));
                assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
                n_checked += 1;
            }
        }
    }
    // The four suites on CIFAR-100 alone have twenty rows each, with two variants.
    assert!(n_checked > 200, "{n_checked}");
}

#[test]
fn every_result_has_a_manifest_with_machine_commit_and_command() {
    let results = repository().join("results");
    let Ok(entries) = std::fs::read_dir(&results) else { return };
    for entry in entries {
        let folder = entry.expect("an entry").path();
        if folder.is_dir() {
            let manifest: Value =
                serde_json::from_str(&read(&folder.join("manifest.json"))).expect("JSON");
            for key in ["machine", "commit", "command"] {
                assert!(!manifest[key].is_null(), "{}: no {key}", folder.display());
            }
        }
    }
}
