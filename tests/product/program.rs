//! The program from the command line: its output, the files of a run, and their use by other commands.
#![allow(clippy::disallowed_methods, reason = "only makes test inputs")]

use crate::support;
use crate::support::bytes;
use crate::support::{Folder, json, repository, succeed};
use taper::record::Lock;
use taper_host::Exit;

#[test]
fn a_run_writes_its_files_and_eval_gives_the_same_accuracy() {
    let folder = Folder::new();
    let out = folder.text("run");
    let said = succeed(&["train", "--epochs", "4", "--sparsity", "0.9", "--out", &out, "--json"]);
    let printed: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let result = json(&folder.path("run/result.json"));
    assert_eq!(printed, result);
    for name in [
        "pruned.safetensors",
        "metrics.csv",
        "steps.jsonl",
        "timing.csv",
        "run.json",
        "checkpoints",
    ] {
        assert!(folder.path("run").join(name).exists(), "{name} is missing");
    }
    assert_eq!(result["n_kept"], 2382);
    assert_eq!(result["sparsity"].as_f64(), Some(1.0 - 2382.0 / 23824.0));
    let layers = result["layers"].as_array().expect("layers");
    assert_eq!(layers.iter().map(|l| l["n_kept"].as_u64().expect("a count")).sum::<u64>(), 2382);
    assert_eq!(
        layers.iter().map(|l| l["macs_dense"].as_u64().expect("a count")).sum::<u64>(),
        378_496
    );

    let run = json(&folder.path("run/run.json"));
    assert_eq!(run["recipe"]["prune"]["method"], "feather");
    assert_eq!(run["data"]["n_train"], 1442);
    let [segment] = &run["segments"].as_array().expect("a list")[..] else { panic!("{run}") };
    assert_eq!((&segment["from_step"], &segment["device"]), (&0.into(), &"cpu".into()));
    assert_eq!(segment["machine"]["arch"], std::env::consts::ARCH);
    assert!(segment["threads"].as_u64() > Some(0) && segment["machine"]["cores"].is_u64());
    assert_eq!(segment["versions"]["candle"], locked("candle-core").as_str());
    assert_eq!(segment["choice"], "measured");
    let git = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(repository())
        .output();
    // In a secondary git worktree, `.git` is a file; the commit must be recorded there, too.
    if let Some(git) = git.ok().filter(|git| git.status.success()) {
        let head = String::from_utf8_lossy(&git.stdout).trim().to_owned();
        assert_eq!(segment["commit"], head.as_str());
        assert!(segment["dirty"].is_boolean(), "{segment}");
    }

    let csv = std::fs::read_to_string(folder.path("run/metrics.csv")).expect("a file");
    let last: Vec<&str> = csv.lines().last().expect("a row").split(',').collect();
    assert_eq!(last[9].parse::<f64>().ok(), result["test_accuracy"].as_f64());

    let checkpoint = folder.text("run/pruned.safetensors");
    let eval: serde_json::Value =
        serde_json::from_str(&succeed(&["eval", &checkpoint, "--json"]).out).expect("JSON");
    assert_eq!(
        eval["test_accuracy"], result["test_accuracy"],
        "evaluated weights are the trained ones"
    );
    let inspect: serde_json::Value =
        serde_json::from_str(&succeed(&["inspect", &checkpoint, "--json"]).out).expect("JSON");
    assert_eq!(inspect["layers"], result["layers"]);
    let table = succeed(&["inspect", &checkpoint]).out;
    assert!(table.contains("conv3.weight") && table.contains("90.00 %"), "{table}");
}

/// Version of a package in the lock file.
fn locked(name: &str) -> String {
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).expect("a lock file");
    let lock: toml::Table = lock.parse().expect("TOML");
    let mut packages = lock["package"].as_array().expect("a list").iter();
    let package = packages.find(|package| package["name"].as_str() == Some(name));
    package.expect("the package")["version"].as_str().expect("a version").to_owned()
}

#[test]
fn a_dry_run_prints_the_experiment_with_its_defaults_and_does_nothing() {
    let folder = Folder::new();
    let out = folder.text("run");
    let dry_run = |more: &[&str]| -> serde_json::Value {
        let args = [&["train", "--dry-run", "--out", &out], more].concat();
        serde_json::from_str(&succeed(&args).out).expect("JSON")
    };
    let recipe = dry_run(&["--sparsity", "0.95"]);
    assert_eq!(recipe["prune"]["sparsity"], 0.95);
    assert_eq!((&recipe["model"], &recipe["data"]), (&"digits-cnn".into(), &"digits".into()));
    assert!(!folder.path("run").exists());
    // The run records the same recipe, plus the fingerprint of the data.
    succeed(&["train", "--quiet", "--max-steps", "2", "--set", "train.limit=64", "--out", &out]);
    let mut recorded = json(&folder.path("run/run.json"))["recipe"].clone();
    assert!(recorded.as_object_mut().expect("keys").remove("data_fingerprint").is_some());
    assert_eq!(recorded, dry_run(&["--max-steps", "2", "--set", "train.limit=64"]));
    // A checkpoint is identified by its content, not by its path.
    let of =
        |name: &str| dry_run(&["--from", &folder.text(name), "--sparsity", "0.95"])["from"].clone();
    std::fs::copy(folder.path("run/pruned.safetensors"), folder.path("copy")).expect("a copy");
    assert_eq!(of("copy"), of("run/pruned.safetensors"));
    crate::support::refuse(
        &["study", "significance", "--dry-run"],
        2,
        &["--dry-run applies only to `taper train`"],
    );
}

#[test]
fn the_book_lists_the_exit_codes() {
    let book = std::fs::read_to_string(repository().join("docs/src/training.md")).expect("a page");
    let rows = book.lines().skip_while(|line| *line != "| exit code | meaning |").skip(2);
    let codes: Vec<u8> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').nth(1).expect("a cell").trim().parse().expect("a code"))
        .collect();
    assert_eq!(codes, Exit::ALL.map(Exit::code));
}

#[test]
fn every_method_trains_and_only_dense_keeps_all() {
    let folder = Folder::new();
    for method in ["dense", "gmp", "ste", "feather"] {
        let out = folder.text(method);
        let mut args = vec!["train", "--quiet", "--method", method, "--epochs", "5", "--out", &out];
        if method != "dense" {
            args.extend(["--sparsity", "0.8"]);
        }
        succeed(&args);
        let result = json(&folder.path(method).join("result.json"));
        let accuracy = result["test_accuracy"].as_f64().expect("a share");
        assert!(accuracy > 0.5, "{method} learned nothing: {accuracy}");
        let wanted = if method == "dense" { 23_824 } else { 4_765 };
        assert_eq!(result["n_kept"], wanted, "{method}");
    }
}

#[test]
fn every_method_of_the_list_trains_to_its_count() {
    let methods: serde_json::Value =
        serde_json::from_str(&succeed(&["methods", "--json"]).out).expect("JSON");
    for (name, method) in methods.as_object().expect("a table") {
        if ["dense", "dense-small", "finetune"].contains(&&**name) {
            continue;
        }
        let folder = Folder::new();
        let out = folder.text("run");
        let mut args =
            vec!["train", "--quiet", "--method", name, "--max-steps", "6", "--out", &out];
        let structure = method["prune"]["structure"].as_str();
        let threshold = method["prune"]["threshold"].as_str().unwrap_or_default();
        if structure.is_some() {
            args.extend(["--set", "prune.pins={ \"conv1.weight\" = 0, \"linear.weight\" = 0 }"]);
        }
        succeed(&args);
        let n_kept = json(&folder.path("run/result.json"))["n_kept"].as_u64().expect("a count");
        // At sparsity 0.9; with N:M patterns, half of two layers.
        match structure {
            None if threshold.starts_with("learned") => assert!(n_kept > 0, "{name}"),
            None => assert_eq!(n_kept, 2_382, "{name}"),
            Some("filter") => assert!((1_500..=2_382).contains(&n_kept), "{name}: {n_kept}"),
            Some(_) => assert_eq!(n_kept, 144 + 640 + (4_608 + 18_432) / 2, "{name}"),
        }
    }
}

#[test]
fn a_run_warns_where_it_cannot_do_what_the_experiment_requires() {
    let folder = Folder::new();
    let out = folder.text("run");
    let warned = |more: &[&str]| {
        let args = ["train", "--quiet", "--force", "--set", "train.limit=64", "--out", &out];
        let args = [&args[..], more].concat();
        let said = succeed(&args);
        (said.err, json(&folder.path("run/result.json"))["n_kept"].as_u64().expect("a count"))
    };
    let pins = ["--set", "prune.pins={ \"conv1.weight\" = 0, \"linear.weight\" = 0 }"];
    let filters = ["--max-steps", "12", "--method", "filter", "--sparsity", "0.9"];
    for (more, parts) in [
        (&filters[..], ["prune.sparsity is 0.9, but", "prune.structure filter"]),
        (&["--max-steps", "2", "--method", "sr-ste"], ["prune.sparsity is 0.5", "prune.pins"]),
    ] {
        let (said, _) = warned(&[more, &pins[..]].concat());
        assert!(parts.iter().all(|part| said.contains(part)), "{more:?}: {said}");
    }
    let (said, _) = warned(&["--max-steps", "2", "--method", "grasp"]);
    assert!(said.contains("not every class has 10 training images"), "{said}");
    assert!(said.contains("prune.criterion is grasp:10"), "{said}");
    let (said, _) = warned(&["--max-steps", "2", "--batch-size", "65"]);
    assert!(
        said.contains("train.batch_size is 65, but there are only 64 training images"),
        "{said}"
    );
    let (said, _) = warned(&["--max-steps", "2", "--set", "prune.sparsity=0.9"]);
    assert!(!said.contains("prune.") && !said.contains("train."), "{said}");
    let rigl = ["--epochs", "6", "--method", "rigl", "--set", "prune.refresh_every=5"];
    for (sets, is_swapped) in [
        (["prune.swap_begin=0.1", "prune.swap_end=0.5"], true),
        (["prune.swap_begin=0.1", "prune.swap_end=0.4"], false),
        (["prune.swap_begin=0.5", "prune.swap_end=0.8"], false),
    ] {
        let (said, _) = warned(&[&rigl[..], &["--set", sets[0], "--set", sets[1]]].concat());
        assert_eq!(
            !said.contains("so no weight is pruned and regrown"),
            is_swapped,
            "{sets:?}: {said}"
        );
    }
}

#[test]
fn new_weights_are_trained_for_at_least_one_step() {
    let folder = Folder::new();
    let out = folder.text("run");
    // Prune-and-regrow would run in the last of 21 steps, but not in the last of 22.
    for method in ["set", "rigl"] {
        for steps in ["21", "22"] {
            let args = ["train", "--quiet", "--force", "--method", method, "--max-steps", steps];
            let swaps = ["--set", "prune.swap_end=1.0", "--set", "prune.swap_decay=constant"];
            let every = ["--set", "prune.refresh_every=10", "--out", &out];
            succeed(&[&args[..], &swaps, &every].concat());
            let result = json(&folder.path("run/result.json"));
            assert_eq!(result["n_kept"], 2_382, "{method}, {steps} steps");
        }
    }
}

#[test]
fn a_small_dense_network_has_its_width_in_its_name_everywhere() {
    let folder = Folder::new();
    let out = folder.text("run");
    let args = ["train", "--quiet", "--method", "dense-small", "--sparsity", "0.9"];
    let args = [&args[..], &["--max-steps", "8", "--out", &out]].concat();
    succeed(&args);
    let result = json(&folder.path("run/result.json"));
    let model = result["model"].as_str().expect("a name");
    assert!(model.starts_with("digits-cnn@0."), "{model}");
    // A network at sparsity 0.9 has 234 parameters that are never pruned, and 2,382 kept weights.
    let n_params = result["n_params"].as_u64().expect("a count");
    assert!((2_300..=2_616).contains(&n_params), "{n_params}");
    assert_eq!((&result["sparsity"], &result["sparsity_target"]), (&0.0.into(), &().into()));
    assert_eq!(json(&folder.path("run/run.json"))["recipe"]["model"], model);
    succeed(&[&args[..], &["--resume"]].concat());
    let trained = folder.text("run/pruned.safetensors");
    assert!(succeed(&["eval", &trained]).out.contains(model));
    assert!(succeed(&["inspect", &trained]).out.contains(model));
    let checkpoints = std::fs::read_dir(folder.path("run/checkpoints")).expect("checkpoints");
    let last = checkpoints.last().expect("a checkpoint").expect("an entry").path();
    let onnx = folder.text("network.onnx");
    succeed(&["export", &last.display().to_string(), "--out", &onnx, "--format", "onnx"]);
    // A network with a custom width can be pruned like any other.
    let half = folder.text("half");
    succeed(&["train", "--quiet", "--model", "digits-cnn@0.5", "--max-steps", "2", "--out", &half]);
    let result = json(&folder.path("half/result.json"));
    assert_eq!((&result["n_prunable"], &result["n_kept"]), (&6_152.into(), &615.into()));
    let tune = ["train", "--quiet", "--from", &folder.text("half/pruned.safetensors")];
    succeed(
        &[&tune[..], &["--method", "finetune", "--max-steps", "2", "--out", &folder.text("t")]]
            .concat(),
    );
}

#[test]
fn choices_of_an_experiment_reach_the_run() {
    let folder = Folder::new();
    let out = folder.text("run");
    let experiment = folder.write(
        "experiment.toml",
        r#"
[train]
epochs = 3
warmup_epochs = 1.0
label_smoothing = 0.1
early_stop = 1

[prune]
threshold = "power:2"
gradient = 0.25
schedule = "linear"
begin = 0.1
end = 0.4
allocation = "erk"
quantile = "interpolated"
refresh_every = 4
pins = { "conv1.*" = 0.0, "linear.*" = 0.1, "linear.weight" = 0.5 }
"#,
    );
    succeed(&["train", &experiment, "--quiet", "--sparsity", "0.8", "--out", &out]);
    let recipe = &json(&folder.path("run/run.json"))["recipe"];
    assert_eq!(recipe["prune"]["gradient"], "0.25");
    assert_eq!(recipe["prune"]["allocation"], "erk");
    let result = json(&folder.path("run/result.json"));
    let csv = std::fs::read_to_string(folder.path("run/metrics.csv")).expect("a file");
    let last: Vec<&str> = csv.lines().last().expect("a row").split(',').collect();
    assert_eq!(
        last[5].parse::<u64>().ok(),
        result["n_kept"].as_u64(),
        "what is recorded is what is saved"
    );
    assert_eq!(result["layers"][0]["n_kept"], 144, "the stem is pinned dense");
    assert_eq!(result["layers"][3]["n_kept"], 320, "the classifier is pinned at a half");
}

#[test]
fn each_setting_of_a_run_changes_its_network() {
    let folder = Folder::new();
    let adapt = ["prune.adapt=\"reciprocal\"", "prune.adapt_window=1", "prune.adapt_deadline=0.8"];
    let drop = "prune.drop=\"random:1\"";
    let settings: &[&[&str]] = &[
        &[],
        &["train.label_smoothing=0.1"],
        &["train.augment=\"none\""],
        &["train.augment=\"crop-flip\""],
        &["train.clip_norm=0.1"],
        &["train.warmup_epochs=1.0"],
        &["train.normalise=\"0.2/0.7\""],
        &[drop],
        &[drop, "prune.drop_begin=0.75"],
        &[drop, "prune.drop_begin=0.25", "prune.drop_end=0.75", "prune.drop_schedule=\"linear\""],
        &[drop, "prune.drop_from=0.8"],
        &[adapt[0], adapt[1], adapt[2]],
        &[adapt[0], adapt[1], adapt[2], "prune.adapt_smoothing=0.0"],
        &[adapt[0], adapt[1], adapt[2], "prune.adapt_slow=0.9"],
    ];
    let mut networks = std::collections::BTreeMap::new();
    for (i, settings) in settings.iter().enumerate() {
        let out = folder.text(&format!("run{i}"));
        let mut run = vec!["train", "--quiet", "--max-steps", "24", "--batch-size", "16"];
        run.extend(["--set", "train.limit=64", "--sparsity", "0.9", "--out", &out]);
        run.extend(settings.iter().flat_map(|set| ["--set", set]));
        succeed(&run);
        let file = bytes(&folder.path(&format!("run{i}/pruned.safetensors")));
        let tensors = safetensors::SafeTensors::deserialize(&file).expect("a checkpoint");
        let tensors: Vec<u8> =
            tensors.iter().flat_map(|(_, tensor)| tensor.data().to_vec()).collect();
        if let Some(other) = networks.insert(tensors, settings) {
            panic!("{settings:?} gives the network of {other:?}");
        }
    }
}

#[test]
fn every_command_accepts_the_network_of_the_best_epoch() {
    let folder = Folder::new();
    let out = folder.text("run");
    let best_of = |seed: &str| {
        let train =
            ["train", "--epochs", "12", "--set", "prune.end=0.2", "--seed", seed, "--force"];
        let said =
            succeed(&[&train[..], &["--set", "train.keep_best=true", "--out", &out]].concat());
        let csv = std::fs::read_to_string(folder.path("run/metrics.csv")).expect("a file");
        // The first epoch with the best accuracy among those at the final sparsity.
        let mut best: Option<(u64, f64)> = None;
        for row in csv.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>()) {
            let accuracy = row[9].parse().expect("a number");
            if row[3] == "0.9" && best.is_none_or(|(_, before)| accuracy > before) {
                best = Some((row[0].parse().expect("a number"), accuracy));
            }
        }
        let (epoch, accuracy) = best.expect("an epoch");
        (epoch < 11).then_some((said, epoch, accuracy))
    };
    let seeds = ["0", "1", "2", "3", "4", "5", "6", "7"];
    let (said, epoch, accuracy) =
        seeds.into_iter().find_map(best_of).expect("a run whose last epoch is not its best");
    let result = json(&folder.path("run/result.json"));
    let wanted = serde_json::json!({
        "file": "pruned-best.safetensors", "epoch": epoch, "test_accuracy": accuracy,
        "validation_accuracy": null,
    });
    assert_eq!(result["best"], wanted);
    assert!(said.out.contains(&format!("the network of epoch {}", epoch + 1)), "{}", said.out);

    let path = folder.text("run/pruned-best.safetensors");
    let eval: serde_json::Value =
        serde_json::from_str(&succeed(&["eval", &path, "--json"]).out).expect("JSON");
    assert_eq!(eval["test_accuracy"].as_f64(), Some(accuracy));
    let inspect: serde_json::Value =
        serde_json::from_str(&succeed(&["inspect", &path, "--json"]).out).expect("JSON");
    assert_eq!(inspect["n_kept"], 2382);
    let file = taper::train::checkpoint::TensorFile::load(path.as_ref()).expect("a checkpoint");
    assert_eq!(file.metadata["epoch"], epoch.to_string());
    assert_eq!(file.metadata["test_accuracy"], accuracy.to_string());
    let onnx = folder.text("best.onnx");
    succeed(&["export", &path, "--format", "onnx", "--out", &onnx]);
    let tuned = folder.text("tuned");
    let tune = ["train", "--quiet", "--from", &path, "--method", "finetune", "--out", &tuned];
    succeed(&[&tune[..], &["--max-steps", "2"]].concat());
}

#[test]
fn lists_help_and_completions() {
    let models: serde_json::Value =
        serde_json::from_str(&succeed(&["models", "--json"]).out).expect("JSON");
    assert_eq!(models[0]["name"], "resnet20");
    // For ten classes. With all 1000 classes of ImageNet, the networks have 11,689,512, 25,557,032 and 4,231,976
    // parameters.
    for (name, n_params, macs) in [
        ("resnet18", 11_689_512u64 - 990 * 513, 1_814_073_344u64 - 990 * 512),
        ("resnet50", 25_557_032 - 990 * 2049, 4_089_184_256 - 990 * 2048),
        ("mobilenet-v1-imagenet", 4_231_976 - 990 * 1025, 568_740_352 - 990 * 1024),
    ] {
        let models = models.as_array().expect("a list");
        let found = models.iter().find(|model| model["name"] == name).expect(name);
        assert_eq!(
            (&found["n_params"], &found["macs"]),
            (&n_params.into(), &macs.into()),
            "{name}"
        );
    }
    assert!(succeed(&["--help"]).out.contains("\nConvert a network:\n"));
    assert!(succeed(&["train", "--help"]).out.contains("--sparsity"));
    assert!(succeed(&["fetch", "digits"]).out.contains("nothing to fetch"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeed(&["completions", shell]).out.contains("taper"));
    }
}

#[test]
fn manual_pages_are_written_once_for_each_command() {
    let folder = Folder::new();
    let pages = folder.text("man/man1");
    succeed(&["man", &pages]);
    let page = String::from_utf8(support::bytes(&folder.path("man/man1/taper-suite-run.1")));
    let page = page.expect("text");
    assert!(page.contains("NAME") && page.contains("taper suite run my"), "{page}");
    folder.write("man/man1/taper-train.1", "mine");
    std::fs::remove_file(folder.path("man/man1/taper.1")).expect("the first page");
    crate::support::refuse(
        &["man", &pages],
        2,
        &["exists already; pass another folder, or --force"],
    );
    assert!(!folder.path("man/man1/taper.1").exists(), "some pages were written");
    succeed(&["man", &pages, "--force"]);
    assert_ne!(support::bytes(&folder.path("man/man1/taper-train.1")), b"mine");
}

#[test]
fn resnet20_trains_on_real_cifar100_with_exact_counts() {
    let Some(data) = support::cifar100() else {
        return support::skip("CIFAR-100 is not on this machine");
    };
    let folder = Folder::new();
    let (out, data) = (folder.text("run"), data.display().to_string());
    let limits =
        ["--set", "train.limit=256", "--set", "train.augment=none", "--set", "train.eval_every=9"];
    let mut args = vec!["train", "--quiet", "--data", &data, "--sparsity", "0.95", "--out", &out];
    args.extend(["--batch-size", "32", "--epochs", "3", "--set", "train.lr=0.02"]);
    args.extend(limits);
    succeed(&args);
    let lines = std::fs::read_to_string(folder.path("run/steps.jsonl")).expect("a file");
    let steps: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(steps.len(), 24);
    for (t, step) in steps.iter().enumerate() {
        let ramp = if t >= 12 { 0.95 } else { 0.95 * (1.0 - (1.0 - t as f64 / 12.0).powi(3)) };
        assert_eq!(
            step["n_kept"].as_u64(),
            Some(((1.0 - ramp) * 1_092_960.0).round() as u64),
            "step {t}"
        );
    }
    let loss = |steps: &[serde_json::Value]| {
        steps.iter().map(|s| s["loss"].as_f64().expect("a loss")).sum::<f64>() / steps.len() as f64
    };
    assert!(loss(&steps[21..]) < loss(&steps[..3]), "the loss does not fall: {lines}");
    assert_eq!(json(&folder.path("run/result.json"))["n_kept"], 54_648);
}

#[test]
fn watch_shows_the_progress_of_runs_and_ends_with_them() {
    let folder = Folder::new();
    for seed in ["0", "1"] {
        let out = folder.text(&format!("runs/{seed}"));
        succeed(&["train", "--quiet", "--epochs", "3", "--seed", seed, "--out", &out]);
    }
    let one = succeed(&["watch", &folder.text("runs/1")]).out;
    let first = one.lines().next().expect("a line");
    assert!(first.starts_with("1: epoch 3/3, ") && first.ends_with(", finished"), "{one}");
    assert!(first.contains("sparsity 90.00 %, loss ") && first.contains("test accuracy "), "{one}");
    assert!(one.contains("\nLoss\n") && one.contains("\nSparsity, %\n"), "{one}");
    // The limit of steps ends the run in its second epoch.
    let limited = folder.text("limited");
    succeed(&["train", "--quiet", "--max-steps", "50", "--out", &limited]);
    let line = succeed(&["watch", "--once", &limited]).out;
    assert!(line.starts_with("limited: epoch 2/2, 50 steps"), "{line}");
    std::fs::remove_file(folder.path("limited/result.json")).expect("a result");
    for (name, text) in [
        ("metrics.csv", "epoch,step\n0,46\n"),
        ("timing.csv", "epoch,seconds,images_per_second\n0,9000,1\n"),
    ] {
        folder.write(&format!("limited/{name}"), text);
    }
    // Four steps are left; an epoch has 46.
    let lock = Lock::take(&folder.path("limited/.lock")).expect("locks").expect("it is free");
    let line = succeed(&["watch", "--once", &limited]).out;
    drop(lock);
    let line = line.lines().next().expect("a line");
    assert!(line.contains("epoch 1/2") && line.ends_with("about 13 min 03 s left"), "{line}");
    // One run in the middle of its second epoch, with an incomplete last line.
    std::fs::remove_file(folder.path("runs/0/result.json")).expect("a result");
    for (name, lines) in [("metrics.csv", 2), ("timing.csv", 2), ("steps.jsonl", 60)] {
        let path = folder.path("runs/0").join(name);
        let text = std::fs::read_to_string(&path).expect("a record");
        let kept: Vec<&str> = text.lines().take(lines).collect();
        std::fs::write(&path, format!("{}\n{{\"st", kept.join("\n"))).expect("a file");
    }
    // A run is active while its lock is held.
    let lock = Lock::take(&folder.path("runs/0/.lock")).expect("locks").expect("it is free");
    let here = support::run(support::taper(&["watch", "."]).current_dir(folder.path("runs/1"))).out;
    assert_eq!(here, one);
    let both = succeed(&["watch", "--once", &folder.text("runs")]).out;
    let lines: Vec<&str> = both.lines().collect();
    assert!(lines[0].contains("epoch 1/3, 60 steps") && lines[0].contains(" left"), "{both}");
    assert!(lines[1].ends_with(", finished"), "{both}");
    assert_eq!(lines[2], "1 of 2 finished");
    // A killed run releases its lock: `watch` then ends.
    drop(lock);
    let both = succeed(&["watch", &folder.text("runs")]).out;
    let lines: Vec<&str> = both.lines().collect();
    assert!(lines[0].contains("stopped: no process works on it; --resume"), "{both}");
    assert!(!lines[0].contains(" left"), "{both}");
    assert_eq!(lines[2], "1 of 2 finished, 1 stopped");
    crate::support::refuse(&["watch", &folder.text("nowhere")], 2, &["nowhere"]);
    let said = support::run(&mut support::taper(&["watch", "--once", "--every", "3", "."]));
    assert!(said.code == Some(2) && said.err.contains("--every"), "{}", said.err);

    // A run of a suite that has not begun to train: `watch` continues while its lock is held.
    std::fs::write(folder.path("runs/0/result.json"), "{}").expect("a result");
    let lock =
        std::fs::File::create(folder.path("runs/gmp-seed0-0123456789.lock")).expect("a file");
    lock.lock().expect("locks");
    let mut watcher = support::taper(&["watch", "--every", "1", &folder.text("runs")])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(watcher.try_wait().expect("a child").is_none(), "it has ended too early");
    drop(lock);
    assert!(watcher.wait().expect("a child").success());
}
