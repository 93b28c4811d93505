//! Bad input: each error is one clear sentence with the right exit code, and leaves no partial files.

use crate::support;
use crate::support::{Folder, bytes, refuse, succeed};

/// A run of a few steps.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["train", "--quiet", "--max-steps", "2", "--set", "train.limit=64", "--out", out]
        .iter()
        .chain(more)
        .copied()
        .collect()
}

#[test]
fn usage_errors_have_code_2_and_name_the_remedy() {
    let folder = Folder::new();
    let out = folder.text("run");
    let typo = folder.write("typo.toml", "[train]\nepocs = 3\n");
    let broken = folder.write("broken.toml", "[train\nepochs = 3\n");
    let wrong_type = folder.write("type.toml", "[train]\nepochs = \"three\"\n");
    let idle = folder.write("idle.toml", "[train]\noptimizer = \"adamw\"\nmomentum = 0.5\n");
    let cases: &[(&[&str], &[&str])] = &[
        (&[&typo], &["typo.toml", "`train.epocs`", "did you mean `train.epochs`?"]),
        (&[&broken], &["broken.toml"]),
        (&[&wrong_type], &["type.toml", "train.epochs is \"three\"; it must be a whole number"]),
        (&["nowhere.toml"], &["cannot read experiment nowhere.toml"]),
        (&["--sparsity", "1.1"], &["prune.sparsity is 1.1, outside [0, 1)"]),
        (&["--sparsity", "-0.5"], &["prune.sparsity is -0.5, outside [0, 1)"]),
        (&["--set", "lr=0.1"], &["did you mean `train.lr`?"]),
        (&["--sparsity", "nan"], &["outside [0, 1)"]),
        (&["--method", "fether"], &["fether", "feather"]),
        (&["--model", "resnet21"], &["resnet21", "resnet20"]),
        (&["--data", "cifar1000"], &["cifar1000", "cifar100"]),
        (&["--model", "resnet20"], &["3x32x32", "1x8x8"]),
        (&["--set", "train.lr"], &["key=value"]),
        (&["--set", "prune.a.b.c=1"], &["`prune.a.b.c`", "such as train.lr"]),
        (&["--set", "prune.end=1.0"], &["not reach its target 0.9"]),
        (&["--set", "train.lr=-1"], &["train.lr is -1"]),
        (&["--device", "cuda"], &["--features cuda"]),
        (&["--device", "tpu"], &["unknown device `tpu`"]),
        (&["--epochs", "0"], &["train.epochs is 0"]),
        (
            &["--set", "train.warmup_epochs=1"],
            &["train.warmup_epochs is 1, which is 2 steps, and the run has 2"],
        ),
        (&["--set", "train.optimizer=adam"], &["train.optimizer `adam`", "sgd, adamw"]),
        (&["--set", "train.schedule=step"], &["train.schedule `step`", "step:FACTOR"]),
        (&["--set", "train.nesterow=true"], &["did you mean `train.nesterov`?"]),
        (&["--set", "prune.pins={ \"stem*\" = 0.0 }"], &["`stem*` matches none"]),
        (&["--model", "digits-cnn@0"], &["`digits-cnn@0`", "(0, 4]", "digits-cnn@0.5"]),
        // Errors that are found before the data is read.
        (&["--method", "sr-ste", "--dry-run"], &["2:4", "conv1.weight", "prune.pins"]),
        (
            &["--method", "rigl", "--set", "prune.threshold=feather", "--dry-run"],
            &["prune.threshold is feather", "prune.renewal is swap"],
        ),
        (
            &["--method", "rigl", "--set", "prune.gradient=0.5", "--dry-run"],
            &["prune.gradient is 0.5", "prune.remainder is zero"],
        ),
        (
            &["--method", "rigl", "--set", "prune.refresh_every=1", "--dry-run"],
            &["prune.grow is gradient", "prune.refresh_every is 1"],
        ),
        (
            &["--sparsity", "1", "--data", "cifar100", "--dry-run"],
            &["target sparsity 1 keeps none"],
        ),
        (
            &["--set", "prune.pins={ \"stem*\" = 0 }", "--data", "cifar100", "--dry-run"],
            &["prune.pins", "`stem*` matches none", "conv1.weight"],
        ),
        (
            &["--method", "dense", "--set", "prune.end=0.25", "--dry-run"],
            &["prune.end applies only to methods that prune", "prune.method is dense"],
        ),
        (
            &[&idle],
            &["train.momentum applies only to sgd", "train.optimizer is adamw", "leave it out"],
        ),
        (
            &["--data", "cifar10", "--set", "train.normalise=digits", "--dry-run"],
            &["train.normalise `digits` is for 1 channels", "cifar10 have 3"],
        ),
        (&["--device", "tpu", "--dry-run"], &["unknown device `tpu`"]),
        (&["--model", "digits-cnn", "--data", "cifar10", "--dry-run"], &["1x8x8", "3x32x32"]),
        (
            &["--data", "cifar10", "--dry-run", "--epochs", "3", "--set", "train.warmup_epochs=3"],
            &["train.warmup_epochs is 3, outside [0, 3)"],
        ),
        (
            &["--dry-run", "--set", "train.warmup_epochs=1"],
            &["which is 2 steps, and the run has 2"],
        ),
        (
            &["--set", "prune.end=1.0", "--data", "cifar10", "--dry-run"],
            &["not reach its target 0.9"],
        ),
        (&["--set", "train.validation=64", "--dry-run"], &["train.validation"]),
    ];
    for (more, parts) in cases {
        refuse(&train(&out, more), 2, parts);
    }
    // Errors of the argument parser have the same exit code.
    for args in
        [&["train", "--threads", "0"][..], &["train", "--no-such-flag"], &["no-such-command"], &[]]
    {
        let said = support::run(&mut support::taper(args));
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
    }
}

#[test]
fn a_target_that_keeps_no_weight_is_refused_with_the_largest_that_keeps_one() {
    let folder = Folder::new();
    let out = folder.text("run");
    // digits-cnn has 23,824 prunable weights: round(23824·(1 − s)) is at least 1 up to s = 1 − 1/47648.
    for target in ["1.0", "0.99999", "0.99998"] {
        refuse(
            &train(&out, &["--sparsity", target]),
            2,
            &["none of 23824 weights", "[0, 0.999979"],
        );
        assert!(!folder.path("run").exists(), "nothing is written for an invalid run");
    }
    let said = support::run(&mut support::taper(&train(&out, &["--sparsity", "1"])));
    let largest = said.err.split_once("[0, ").and_then(|(_, end)| end.split_once(']'));
    let largest = largest.expect("a range").0;
    succeed(&train(&out, &["--sparsity", largest]));
    let result = support::json(&folder.path("run/result.json"));
    assert_eq!(result["n_kept"], 1, "{result}");
    refuse(&["schedule", "plot", "--sparsity", "1"], 2, &["keeps none of 23824 weights"]);
}

#[test]
fn a_folder_with_a_run_is_neither_overwritten_nor_resumed_with_another_recipe() {
    let folder = Folder::new();
    let out = folder.text("run");
    succeed(&train(&out, &[]));
    let before = bytes(&folder.path("run/pruned.safetensors"));
    refuse(&train(&out, &[]), 2, &["already contains a run", "--resume"]);
    refuse(
        &train(&out, &["--resume", "--seed", "5"]),
        2,
        &["another recipe", "seed was 0 and is now 5"],
    );
    refuse(&train(&out, &["--resume", "--set", "train.limit=65"]), 2, &["data_fingerprint was"]);
    refuse(
        &train(&out, &["--resume", "--set", "train.optimizer=adamw"]),
        2,
        &["another recipe", "train.optimizer was \"sgd\" and is now \"adamw\""],
    );
    assert!(bytes(&folder.path("run/pruned.safetensors")) == before);
    succeed(&train(&out, &["--resume"]));
    let twice = ["--seed", "3", "--set", "seed = 4"];
    refuse(&train(&folder.text("other"), &twice), 2, &["--seed and --set seed = 4 set the same"]);
}

#[test]
fn force_replaces_a_run_and_no_other_files() {
    let folder = Folder::new();
    let out = folder.text("run");
    succeed(&train(&out, &["--mask-trace", "--tensorboard"]));
    let theirs = ["notes.txt", ".partial-download", "checkpoints/model.safetensors"];
    for name in theirs {
        folder.write(&format!("run/{name}"), "mine");
    }
    let before = bytes(&folder.path("run/pruned.safetensors"));
    // --force would delete the network that training starts from.
    let from = folder.text("run/pruned.safetensors");
    refuse(&train(&out, &["--from", &from, "--force"]), 2, &["--force would delete", &from]);
    // An error before the first step leaves the old run unchanged.
    let warm = ["--force", "--set", "train.warmup_epochs=9"];
    refuse(&train(&out, &warm), 2, &["train.warmup_epochs"]);
    assert!(bytes(&folder.path("run/pruned.safetensors")) == before);
    refuse(&train(&out, &["--force", "--resume"]), 2, &["--force", "--resume"]);

    succeed(&train(&out, &["--force", "--seed", "5"]));
    assert_eq!(support::json(&folder.path("run/result.json"))["seed"], 5);
    assert!(!folder.path("run/masks.csv").exists(), "a record of the old run");
    let entries = std::fs::read_dir(&out).expect("a folder");
    let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
    assert!(!names.into_iter().any(|name| name.starts_with("events")), "records of the old run");
    for name in theirs {
        assert_eq!(bytes(&folder.path("run").join(name)), b"mine", "{name}");
    }
}

#[test]
fn files_that_no_run_has_written_are_never_replaced() {
    let folder = Folder::new();
    for name in ["metrics.csv", "pruned.safetensors", "pruned-best.safetensors", "run.json"] {
        let out = folder.text(name);
        std::fs::create_dir(&out).expect("a folder");
        let file = folder.write(&format!("{name}/{name}"), "mine");
        for more in [&[][..], &["--force"], &["--resume"]] {
            refuse(&train(&out, more), 2, &[&format!("contains {name}"), "move it away"]);
        }
        assert_eq!(bytes(file.as_ref()), b"mine");
        assert_eq!(
            std::fs::read_dir(&out).expect("a folder").count(),
            1,
            "{name}: nothing is added"
        );
    }
    let svg = folder.write("schedule.svg", "mine");
    let plot = ["schedule", "plot", "--steps", "20", "--svg", &svg];
    refuse(&plot, 2, &["schedule.svg exists already", "--svg", "--force"]);
    assert_eq!(bytes(svg.as_ref()), b"mine");
    succeed(&[&plot[..], &["--force"]].concat());
    assert!(bytes(svg.as_ref()).starts_with(b"<svg"));
}

#[test]
fn a_checkpoint_is_not_replaced_by_its_own_export() {
    let folder = Folder::new();
    succeed(&train(&folder.text("run"), &[]));
    let checkpoint = folder.text("run/pruned.safetensors");
    let before = bytes(checkpoint.as_ref());
    let beside = folder.text("run/../run/pruned.safetensors");
    let export = ["export", &checkpoint, "--format", "csr", "--force", "--out", &beside];
    refuse(&export, 2, &["is the input file"]);
    assert!(bytes(checkpoint.as_ref()) == before);
}

#[test]
fn a_folder_without_its_run_json_is_not_treated_as_new() {
    let folder = Folder::new();
    let out = folder.text("run");
    succeed(&train(&out, &[]));
    std::fs::remove_file(folder.path("run/run.json")).expect("a file");
    refuse(&train(&out, &["--seed", "5"]), 2, &["contains result.json, but no run.json"]);
    refuse(&train(&out, &["--resume", "--seed", "5"]), 2, &["no run.json"]);
    std::fs::remove_file(folder.path("run/result.json")).expect("a file");
    refuse(&train(&out, &["--resume", "--seed", "5"]), 2, &["seed was 0 and is now 5"]);
    succeed(&train(&out, &["--resume"]));
}

#[cfg(unix)]
#[test]
fn a_closed_output_pipe_does_not_crash_the_program() {
    let folder = Folder::new();
    let taper = env!("CARGO_BIN_EXE_taper");
    let shell = |line: &str| {
        let said =
            support::run(std::process::Command::new("bash").args(["-o", "pipefail", "-c", line]));
        assert!(!said.err.contains("panicked"), "{line}: {}", said.err);
        said.code
    };
    assert_eq!(shell(&format!("{taper} models | true")), Some(0));
    if std::path::Path::new("/dev/full").exists() {
        assert_eq!(shell(&format!("{taper} models > /dev/full")), Some(4));
    }
    let out = folder.text("run");
    let line = format!(
        "{taper} train --epochs 3 --set train.limit=64 --out {out} 2>&1 >/dev/null | head -1"
    );
    assert_eq!(shell(&line), Some(0));
    assert!(
        folder.path("run/result.json").exists(),
        "the run continues after its output is closed"
    );
}

#[test]
fn two_runs_in_one_folder_do_not_mix() {
    let folder = Folder::new();
    let out = folder.text("run");
    let mut first = support::taper(&["train", "--quiet", "--out", &out]).spawn().expect("a child");
    let begun = std::time::Instant::now();
    while !folder.path("run/run.json").exists() {
        assert!(begun.elapsed().as_secs() < 60, "the first run does not start");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    refuse(
        &["train", "--quiet", "--resume", "--out", &out],
        2,
        &["another taper process is training in"],
    );
    first.kill().expect("a child");
    first.wait().expect("a child");
}

#[test]
fn hostile_checkpoints_are_refused_by_name() {
    let folder = Folder::new();
    let out = folder.text("run");
    succeed(&train(&out, &[]));
    let good = bytes(&folder.path("run/pruned.safetensors"));
    let with_header = |header: &str| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0; 64]);
        file
    };
    let mut flipped = good.clone();
    flipped[20] ^= 0xff;
    let mut huge_header = good.clone();
    huge_header[..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    let huge_tensor =
        r#"{"x":{"dtype":"F32","shape":[4294967295,4294967295],"data_offsets":[0,64]}}"#;
    let far_offsets =
        r#"{"x":{"dtype":"F32","shape":[16],"data_offsets":[0,9223372036854775807]}}"#;
    let no_metadata = r#"{"x":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#;
    let other_type = r#"{"x":{"dtype":"I16","shape":[32],"data_offsets":[0,64]}}"#;
    let files: &[(&str, Vec<u8>, &str)] = &[
        ("empty", vec![], "safetensors"),
        ("cut", good[..good.len() - 1].to_vec(), "safetensors"),
        ("cut-header", good[..100].to_vec(), "safetensors"),
        ("text", b"not a checkpoint at all".to_vec(), "safetensors"),
        ("flipped", flipped, "safetensors"),
        ("huge-header", huge_header, "safetensors"),
        ("huge-tensor", with_header(huge_tensor), "safetensors"),
        ("far-offsets", with_header(far_offsets), "safetensors"),
        ("no-metadata", with_header(no_metadata), "metadata has no `kind`"),
        ("other-type", with_header(other_type), "I16"),
    ];
    for (name, content, part) in files {
        let path = folder.write(name, content);
        refuse(&["eval", &path], 1, &[name, part]);
        refuse(&["inspect", &path], 1, &[name, part]);
    }
    refuse(&["eval", &folder.text("missing")], 1, &["cannot read checkpoint", "missing"]);
    let training = std::fs::read_dir(folder.path("run/checkpoints"))
        .expect("a folder")
        .next()
        .expect("one")
        .expect("one");
    refuse(
        &["eval", &training.path().display().to_string()],
        1,
        &["taper-training-2", "pruned.safetensors"],
    );
    // The remedy in the message works.
    let training = training.path().display().to_string();
    let (copy, imported) = (folder.text("copy"), folder.text("imported"));
    refuse(&["import", &training, "--out", &imported], 2, &["training checkpoint", "taper export"]);
    succeed(&["export", &training, "--format", "csr", "--out", &copy]);
    succeed(&["import", &copy, "--out", &imported]);
    succeed(&["eval", &imported]);

    // Damaged training checkpoints are skipped; if no other one exists, that is an error.
    let checkpoints = folder.path("run/checkpoints");
    for entry in std::fs::read_dir(checkpoints).expect("a folder") {
        std::fs::write(entry.expect("an entry").path(), b"damaged").expect("a file");
    }
    std::fs::remove_file(folder.path("run/result.json")).expect("a result");
    refuse(&train(&out, &["--resume"]), 1, &["checkpoint", "unusable"]);
}

#[test]
fn hostile_data_is_refused_by_file_and_reason() {
    let folder = Folder::new();
    let out = folder.text("run");
    std::fs::create_dir_all(folder.path("empty")).expect("a folder");
    refuse(&train(&out, &["--data", &folder.text("empty"), "--model", "resnet20"]), 1, &["empty"]);
    std::fs::create_dir_all(folder.path("cifar")).expect("a folder");
    for split in ["train", "test"] {
        folder
            .write(&format!("cifar/{split}-00000-of-00001.parquet"), b"PAR1 but nothing else PAR1");
    }
    refuse(
        &train(&out, &["--data", &folder.text("cifar"), "--model", "resnet20"]),
        1,
        &[".parquet"],
    );
    assert!(!folder.path("run").exists(), "nothing is written before the data is known to be good");
}

#[cfg(unix)]
#[test]
fn an_output_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    // A file in place of a folder is an error for every user, including root.
    let file = folder.write("file", "x");
    refuse(&train(&format!("{file}/run"), &[]), 1, &["cannot make the output folder", "--out"]);
    let read_only = folder.path("read-only");
    std::fs::create_dir(&read_only).expect("a folder");
    let mut permissions = std::fs::metadata(&read_only).expect("a folder").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o555);
    std::fs::set_permissions(&read_only, permissions).expect("permissions");
    if std::fs::write(read_only.join("probe"), "x").is_ok() {
        support::skip("this user may write to read-only folders");
        return;
    }
    refuse(&train(&folder.text("read-only"), &[]), 1, &["cannot"]);
}

#[test]
fn a_loss_that_is_not_finite_names_step_and_place() {
    let folder = Folder::new();
    let out = folder.text("run");
    refuse(
        &[
            "train",
            "--quiet",
            "--out",
            &out,
            "--set",
            "train.lr=1000",
            "--set",
            "train.clip_norm=0",
            "--epochs",
            "3",
            "--set",
            "train.weight_decay=100",
        ],
        1,
        &["is NaN at step ", "finite, so it arose", "lower the learning rate"],
    );
    assert!(!folder.path("run/result.json").exists());
    let out = folder.text("last");
    refuse(
        &[
            "train",
            "--quiet",
            "--out",
            &out,
            "--max-steps",
            "1",
            "--method",
            "dense",
            "--set",
            "train.lr=1000",
            "--set",
            "train.weight_decay=1e38",
        ],
        1,
        &["the test loss is", "not finite"],
    );
}
