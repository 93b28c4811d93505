//! Training from a pruned checkpoint: with its mask, to a higher sparsity, dense; and estimating statistics again.

use crate::support;
use crate::support::{Folder, bytes, json, refuse, succeed};
use std::{collections::BTreeMap, path::Path};
use taper::train::checkpoint::TensorFile;

/// The values of a checkpoint by name.
fn values(path: &str) -> BTreeMap<String, Vec<f32>> {
    let file = TensorFile::load(path.as_ref()).expect("a checkpoint");
    let flat =
        |t: &candle_core::Tensor| t.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1();
    file.tensors.iter().map(|(name, t)| (name.clone(), flat(t).expect("numbers"))).collect()
}

fn is_layer(name: &str) -> bool {
    (name.starts_with("conv") || name.starts_with("linear")) && name.ends_with("weight")
}

/// Trains two epochs on the digits to a sparsity of 90 %. Returns the path of the pruned checkpoint.
fn pruned(folder: &Folder) -> String {
    let out = folder.text("first");
    succeed(&["train", "--quiet", "--epochs", "2", "--sparsity", "0.9", "--out", &out]);
    folder.text("first/pruned.safetensors")
}

#[test]
fn fine_tuning_keeps_the_mask_and_resumes_bit_identically() {
    let folder = Folder::new();
    let first = pruned(&folder);
    let out = folder.text("tuned");
    let tune = |out: &str, more: &[&str]| {
        let args = [
            "train", "--quiet", "--from", &first, "--method", "finetune", "--epochs", "3", "--out",
            out,
        ];
        succeed(&[&args[..], more].concat());
    };
    tune(&out, &[]);
    let (before, after) = (values(&first), values(&folder.text("tuned/pruned.safetensors")));
    let mut n_moved = 0;
    for (name, before) in before.iter().filter(|(name, _)| is_layer(name)) {
        for (b, a) in before.iter().zip(&after[name]) {
            assert_eq!(*b == 0.0, *a == 0.0, "{name}");
            n_moved += usize::from(b != a);
        }
    }
    assert!(n_moved > 1000, "{n_moved}");
    let [was, is] = ["first", "tuned"].map(|run| json(&folder.path(&format!("{run}/result.json"))));
    assert_eq!(was["n_kept"], is["n_kept"]);
    assert!(is["test_accuracy"].as_f64() > was["test_accuracy"].as_f64(), "{was} {is}");

    // Resumed from the middle.
    let again = folder.path("again");
    std::fs::create_dir_all(again.join("checkpoints")).expect("a folder");
    let of_epoch = |epoch: usize| {
        let entries = std::fs::read_dir(folder.path("tuned/checkpoints")).expect("a folder");
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
        names.sort();
        names[epoch].clone()
    };
    let middle = of_epoch(0);
    std::fs::copy(&middle, again.join("checkpoints").join(middle.file_name().expect("a name")))
        .expect("a copy");
    std::fs::copy(folder.path("tuned/run.json"), again.join("run.json")).expect("a copy");
    tune(&again.display().to_string(), &["--resume"]);
    let files =
        ["tuned", "again"].map(|run| bytes(&folder.path(&format!("{run}/pruned.safetensors"))));
    assert!(files[0] == files[1]);
}

#[test]
fn an_already_sparse_network_is_pruned_further() {
    let folder = Folder::new();
    let first = pruned(&folder);
    let out = folder.text("further");
    succeed(&[
        "train",
        "--quiet",
        "--from",
        &first,
        "--sparsity",
        "0.97",
        "--epochs",
        "2",
        "--out",
        &out,
    ]);
    let steps = String::from_utf8(bytes(&folder.path("further/steps.jsonl"))).expect("text");
    let targets: Vec<f64> = steps
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|step| step["sparsity_target"].as_f64().expect("a sparsity"))
        .collect();
    assert!((targets[0] - 0.9).abs() < 1e-3, "{}", targets[0]);
    assert_eq!(targets.last(), Some(&0.97));
    // The recipe identifies the initial checkpoint by a hash of its content.
    let recipe = &json(&folder.path("further/run.json"))["recipe"];
    assert_eq!(recipe["from"].as_str().map(str::len), Some(16), "{recipe}");
    assert!(json(&folder.path("first/run.json"))["recipe"].get("from").is_none());
}

#[test]
fn training_goes_on_at_the_sparsity_of_a_checkpoint_and_dense() {
    let folder = Folder::new();
    let first = pruned(&folder);
    // 2,382 of 23,824 weights are slightly less than 10 %.
    let kept = json(&folder.path("first/result.json"));
    assert_eq!((&kept["n_kept"], kept["sparsity"].as_f64() > Some(0.9)), (&2382.into(), true));
    let train = |name: &str, more: &[&str]| {
        let (out, epochs) = (folder.text(name), ["--epochs", "1", "--set", "train.limit=128"]);
        let args = ["train", "--quiet", "--from", &first, "--out", &out];
        succeed(&[&args[..], &epochs, more].concat());
        json(&folder.path(name).join("result.json"))
    };
    assert_eq!(train("same", &["--sparsity", "0.9"])["n_kept"], 2382);
    let steps = String::from_utf8(bytes(&folder.path("same/steps.jsonl"))).expect("text");
    for line in steps.lines() {
        let step: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&step["n_kept"], &step["sparsity_target"]), (&2382.into(), &0.9.into()));
    }
    let tuned = train("tuned", &["--method", "finetune", "--sparsity", "0.9"]);
    assert_eq!(tuned["n_kept"], 2382);
    // A tenth of the learning rate of the digits.
    assert_eq!(json(&folder.path("tuned/run.json"))["recipe"]["train"]["lr"], 0.1 * 0.05);
    assert!(train("dense", &["--method", "dense"])["n_kept"].as_u64() > Some(2382));
    let recipe = &json(&folder.path("dense/run.json"))["recipe"];
    assert_eq!(recipe["prune"]["initial"], 0.0);
    // A target below the sparsity of the checkpoint: schedules never fall, so prune.initial must be lower, too.
    let fewer = ["train", "--from", &first, "--sparsity", "0.5"];
    refuse(
        &fewer,
        2,
        &["prune.sparsity is 0.5, which keeps 11912 of 23824", "has only 2382", "prune.initial"],
    );
    let begun = train("fewer", &["--sparsity", "0.5", "--set", "prune.initial=0.2"]);
    assert_eq!(begun["n_kept"], 11_912);
    // Learned thresholds determine the sparsity; pruning starts from the weights of the checkpoint.
    let learned = train("learned", &["--method", "str"]);
    let n_kept = learned["n_kept"].as_u64().expect("a count");
    assert!((1..=2382).contains(&n_kept), "{n_kept}");
}

#[test]
fn a_checkpoint_is_found_beside_the_experiment_that_names_it() {
    let folder = Folder::new();
    pruned(&folder);
    std::fs::create_dir(folder.path("experiments")).expect("a folder");
    let base = "from = \"../first/pruned.safetensors\"\n[prune]\nmethod = \"finetune\"\n";
    folder.write("experiments/base.toml", base);
    folder.write("experiments/tune.toml", "extends = \"base.toml\"\n[train]\nepochs = 1\n");
    let mut train =
        support::taper(&["train", "--quiet", "--out", "tuned", "experiments/tune.toml"]);
    let said = support::run(train.current_dir(folder.path("")));
    assert_eq!(said.code, Some(0), "{}", said.err);
    // A path in a flag is relative to the working directory.
    let flags = ["train", "--quiet", "--out", "again", "--from", "first/pruned.safetensors"];
    let mut train = support::taper(&[&flags[..], &["experiments/tune.toml"]].concat());
    let said = support::run(train.current_dir(folder.path("")));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let files = ["tuned", "again"].map(|run| bytes(&folder.path(run).join("pruned.safetensors")));
    assert!(files[0] == files[1]);
}

#[test]
fn calibrate_changes_only_the_running_statistics() {
    let folder = Folder::new();
    let first = pruned(&folder);
    let out = folder.text("calibrated.safetensors");
    succeed(&["calibrate", &first, "--batches", "20", "--batch-size", "64", "--out", &out]);
    let (before, after) = (values(&first), values(&out));
    for (name, before) in &before {
        let is_running = name.contains("running_") || name.ends_with("num_batches_tracked");
        assert_eq!(before != &after[name], is_running, "{name}");
        assert!(after[name].iter().all(|v| v.is_finite()), "{name}");
    }
    let accuracy = |path: &str| {
        let said = succeed(&["eval", path, "--json"]);
        let seen: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        seen["test_accuracy"].as_f64().expect("a number")
    };
    assert!((accuracy(&out) - accuracy(&first)).abs() < 0.2);
    refuse(&["calibrate", &first, "--out", &out], 2, &["exists already", "--force"]);
}

#[test]
fn a_start_that_does_not_fit_is_refused() {
    let folder = Folder::new();
    let first = pruned(&folder);
    let out = folder.text("x");
    let train = |more: &[&str], parts: &[&str]| {
        refuse(&[&["train", "--quiet", "--out", &out], more].concat(), 2, parts);
    };
    train(&["--method", "finetune"], &["finetune", "--from"]);
    train(
        &["--method", "finetune", "--from", &first, "--sparsity", "0.5"],
        &["finetune", "prune.sparsity"],
    );
    train(&["--from", &first, "--model", "resnet20"], &["digits-cnn", "resnet20"]);
    // A missing or damaged file gives exit code 1, as for other commands.
    let damaged = folder.write("damaged", &bytes(Path::new(&first))[..100]);
    for from in [folder.text("nowhere"), damaged] {
        refuse(&["train", "--quiet", "--out", &out, "--from", &from], 1, &["checkpoint", &from]);
        refuse(&["train", "--dry-run", "--from", &from], 1, &["checkpoint", &from]);
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn only_the_checkpoint_chooses_the_masks_of_fine_tuning() {
    let folder = Folder::new();
    let first = pruned(&folder);
    let out = folder.text("tuned");
    let tune = ["train", "--quiet", "--from", &first, "--method", "finetune", "--max-steps", "20"];
    for set in ["prune.begin=0.1", "prune.allocation=uniform", "prune.end=0.3"] {
        let args = [&tune[..], &["--set", set, "--out", &out]].concat();
        refuse(&args, 2, &["applies only to methods that choose masks", "finetune"]);
    }
    // Keys of the file are for the method of the file.
    let ramp = "[prune]\nsparsity = 0.9\nbegin = 0.2\nend = 0.4\nallocation = \"erk\"\n";
    let file = folder.write("ramp.toml", ramp);
    succeed(&[&tune[..], &["--out", &out, "--", &file]].concat());
    let (before, after) = (values(&first), values(&folder.text("tuned/pruned.safetensors")));
    for (name, before) in before.iter().filter(|(name, _)| is_layer(name)) {
        let zeros = |weights: &[f32]| weights.iter().map(|w| *w == 0.0).collect::<Vec<_>>();
        assert_eq!(zeros(before), zeros(&after[name]), "{name}");
    }
}

#[test]
fn methods_that_begin_late_keep_the_sparsity_of_the_checkpoint_until_then() {
    let folder = Folder::new();
    let first = pruned(&folder);
    let sparsities = |method: &str, sparsity: &str| -> Vec<f64> {
        let out = folder.text(method);
        let train = ["train", "--quiet", "--from", &first, "--max-steps", "40", "--out", &out];
        succeed(&[&train[..], &["--method", method, "--sparsity", sparsity]].concat());
        let lines = String::from_utf8(bytes(&folder.path(method).join("steps.jsonl")));
        let lines = lines.expect("text");
        let steps = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        steps.map(|s: serde_json::Value| s["sparsity"].as_f64().expect("a number")).collect()
    };
    for (method, sparsity) in [("st-3", "0.9"), ("granet", "0.95"), ("rigl", "0.9")] {
        let found = sparsities(method, sparsity);
        assert!(found.iter().all(|s| *s > 0.895), "{method}: {found:?}");
        let last = found.last().copied().unwrap_or_default();
        assert!(
            (last - sparsity.parse::<f64>().expect("a number")).abs() < 1e-3,
            "{method}: {last}"
        );
    }
    // One-shot pruning keeps the initial sparsity until then, if it is set.
    let out = folder.text("one-shot");
    let train = ["train", "--quiet", "--from", &first, "--max-steps", "40", "--out", &out];
    let set = [
        "--set",
        "prune.schedule=one-shot",
        "--set",
        "prune.begin=0.5",
        "--set",
        "prune.initial=0.5",
    ];
    succeed(&[&train[..], &["--method", "gmp", "--sparsity", "0.95"], &set].concat());
    let lines =
        String::from_utf8(bytes(&folder.path("one-shot").join("steps.jsonl"))).expect("text");
    let line: serde_json::Value =
        serde_json::from_str(lines.lines().next().expect("a step")).expect("JSON");
    assert!((line["sparsity_target"].as_f64().expect("a number") - 0.5).abs() < 1e-3, "{line}");
    // The first masks of RigL are those of the checkpoint, as far as its allocation allows.
    let (before, after) = (values(&first), values(&folder.text("rigl/pruned.safetensors")));
    let (mut n, mut n_kept) = (0, 0);
    for (name, before) in before.iter().filter(|(name, _)| is_layer(name)) {
        let both = before.iter().zip(&after[name]).filter(|(b, _)| **b != 0.0);
        (n, n_kept) = both.fold((n, n_kept), |(n, m), (_, a)| (n + 1, m + usize::from(*a != 0.0)));
    }
    assert!(2 * n_kept > n, "{n_kept} of {n} weights are left");
    let lower = ["train", "--from", &first, "--method", "granet", "--sparsity", "0.8"];
    refuse(&lower, 2, &["prune.sparsity is 0.8", "has only"]);
}

#[test]
fn the_normalization_is_that_of_the_checkpoint() {
    let folder = Folder::new();
    let out = folder.text("first");
    let train = ["train", "--quiet", "--max-steps", "2", "--out", &out];
    succeed(&[&train[..], &["--set", "train.normalise=\"0.25/0.5\""]].concat());
    let first = folder.text("first/pruned.safetensors");
    let out = folder.text("second");
    succeed(&["train", "--quiet", "--max-steps", "2", "--from", &first, "--out", &out]);
    let recipe = &json(&folder.path("second/run.json"))["recipe"];
    assert_eq!(recipe["train"]["normalise"], "0.25/0.5");
}
