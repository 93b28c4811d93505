//! Choosing an epoch (`early_stop`, `keep_best`): on held-out training images, or on test images with a warning.

use crate::support;
use crate::support::{Folder, json, succeed};

/// A column of `metrics.csv`.
fn column(folder: &Folder, name: &str) -> Vec<Option<f64>> {
    let csv = std::fs::read_to_string(folder.path("run/metrics.csv")).expect("a file");
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().expect("a head");
    let i = head.iter().position(|&column| column == name).expect(name);
    rows.map(|row| row[i].parse().ok()).collect()
}

fn train(folder: &Folder, more: &[&str]) -> support::Said {
    let out = folder.text("run");
    let run = ["train", "--epochs", "4", "--set", "train.limit=300", "--out", &out];
    succeed(&[&run, more].concat())
}

#[test]
fn with_held_out_images_choices_use_them_and_test_images_are_evaluated_once() {
    for (validation, n) in [("0.2", 60), ("45", 45)] {
        let folder = Folder::new();
        let validation = format!("train.validation={validation}");
        let choices = ["--set", "train.keep_best=true", "--set", "train.early_stop=9"];
        let said = train(&folder, &[&["--set", &validation], &choices[..]].concat());
        assert!(!said.err.contains("test data"), "{}", said.err);
        assert!(said.err.contains("validation accuracy"), "{}", said.err);

        let result = json(&folder.path("run/result.json"));
        assert_eq!(
            (&result["n_validation"], &result["chosen_on"]),
            (&n.into(), &"validation".into())
        );
        let run = json(&folder.path("run/run.json"));
        assert_eq!(run["data"]["n_train"], 300 - n);
        // An epoch includes the last, smaller batch.
        assert_eq!(result["steps"], 4 * (300u64 - n).div_ceil(32));

        assert_eq!(column(&folder, "test_accuracy"), [None; 4]);
        assert_eq!(column(&folder, "test_loss"), [None; 4]);
        assert!(column(&folder, "validation_loss").iter().all(Option::is_some));
        let accuracies = column(&folder, "validation_accuracy");
        assert_eq!(accuracies.last(), Some(&result["validation_accuracy"].as_f64()));
        let counts = accuracies.iter().map(|a| a.expect("an accuracy") * n as f64);
        assert!(counts.clone().all(|hits| (hits - hits.round()).abs() < 1e-9), "{accuracies:?}");

        // The final accuracy is measured on the test images.
        let eval = succeed(&["eval", &folder.text("run/pruned.safetensors"), "--json"]).out;
        let eval: serde_json::Value = serde_json::from_str(&eval).expect("JSON");
        let limited = json(&folder.path("run/run.json"))["data"]["n_test"].as_f64();
        assert_eq!(limited, Some(300.0));
        let hits = result["test_accuracy"].as_f64().expect("an accuracy") * 300.0;
        assert!((hits - hits.round()).abs() < 1e-9, "{hits} of 300");
        // `eval` uses all 355 test images, the run only the first 300.
        let all = eval["test_accuracy"].as_f64().expect("an accuracy") * 355.0;
        assert!((hits..=hits + 55.0).contains(&(all + 1e-6)), "{hits} {all}");

        let watched = succeed(&["watch", &folder.text("run"), "--once"]).out;
        assert!(watched.contains("validation accuracy"), "{watched}");
    }
}

#[test]
fn the_best_network_is_tested_once_if_images_are_held_out() {
    let folder = Folder::new();
    let out = folder.text("run");
    let keep = ["--set", "train.validation=0.2", "--set", "train.keep_best=true"];
    // Of epochs with equal accuracies, the first is the best, so here it is not the last one.
    let more = ["--epochs", "14", "--set", "prune.end=0.1", "--out", &out];
    succeed(&[&["train", "--quiet"], &keep[..], &more].concat());
    let best = &json(&folder.path("run/result.json"))["best"];
    let file = folder.text(&format!("run/{}", best["file"].as_str().expect("a file")));
    let said = succeed(&["eval", &file, "--engine", "candle", "--json"]).out;
    let eval: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(best["test_accuracy"], eval["test_accuracy"]);
    let accuracies = column(&folder, "validation_accuracy");
    let epoch = best["epoch"].as_u64().expect("an epoch") as usize;
    assert!(epoch < 13, "{accuracies:?}");
    assert_eq!(best["validation_accuracy"].as_f64(), accuracies[epoch]);
}

#[test]
fn choices_on_test_data_give_a_warning() {
    for (setting, name) in
        [("train.early_stop=9", "early_stop"), ("train.keep_best=true", "keep_best")]
    {
        let folder = Folder::new();
        let said = train(&folder, &["--quiet", "--set", setting]);
        assert!(
            said.err.contains("chosen on test data") && said.err.contains(name),
            "{}",
            said.err
        );
        let result = json(&folder.path("run/result.json"));
        assert_eq!((&result["n_validation"], &result["chosen_on"]), (&0.into(), &"test".into()));
        assert!(result["validation_accuracy"].is_null());
        assert!(column(&folder, "test_accuracy").iter().all(Option::is_some));
        assert_eq!(column(&folder, "validation_accuracy"), [None; 4]);
    }
    let folder = Folder::new();
    let said = train(&folder, &["--quiet"]);
    assert!(!said.err.contains("test data"), "{}", said.err);
    assert!(json(&folder.path("run/result.json"))["chosen_on"].is_null());
}

#[test]
fn an_empty_split_is_rejected_before_the_folder_is_created() {
    let folder = Folder::new();
    let out = folder.text("run");
    for (value, said) in [("300", "300 of 300"), ("0.001", "0 of 300"), ("1.5", "outside 0 (none)")]
    {
        let validation = format!("train.validation={value}");
        let run = ["train", "--set", "train.limit=300", "--set", &validation, "--out", &out];
        support::refuse(&run, 2, &["train.validation", said]);
        assert!(!folder.path("run").exists());
    }
}

#[test]
fn images_that_a_checkpoint_was_trained_on_are_no_validation_images_without_a_warning() {
    let folder = Folder::new();
    train(&folder, &["--quiet", "--set", "train.validation=30"]);
    let (from, out) = (folder.text("run/pruned.safetensors"), folder.text("tuned"));
    let tune = ["train", "--quiet", "--from", &from, "--method", "finetune", "--max-steps", "1"];
    for (n, is_warned) in [(30, false), (20, false), (45, true)] {
        let validation = format!("train.validation={n}");
        let set = ["--set", "train.limit=300", "--set", &validation, "--out", &out, "--force"];
        let said = succeed(&[&tune[..], &set].concat());
        assert_eq!(said.err.contains("was trained on 15 of the 45"), is_warned, "{}", said.err);
    }
}
