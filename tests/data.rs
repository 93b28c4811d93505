//! Runs record their data set, and later commands find it again.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::{Folder, Said, bytes, cifar_of_noise, json, repository, run, taper};
use taper::train::checkpoint::PrunedCheckpoint;

/// The program in `folder`, without network access to the hub, and with an empty hub cache in that folder.
fn offline(folder: &Folder, args: &[&str]) -> Command {
    let mut command = taper(args);
    command.current_dir(folder.path("")).env("HF_HUB_OFFLINE", "1");
    command.env("HF_HOME", folder.path("hf"));
    command
}

#[track_caller]
fn succeed(folder: &Folder, args: &[&str]) -> Said {
    let said = run(&mut offline(folder, args));
    assert_eq!(said.code, Some(0), "taper {args:?}\n{}\n{}", said.out, said.err);
    said
}

/// Runs a command that must fail with one usage error that contains all `parts`.
#[track_caller]
fn refuse(folder: &Folder, args: &[&str], parts: &[&str]) {
    let said = run(&mut offline(folder, args));
    let errors: Vec<&str> = said.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!((said.code, errors.len()), (Some(2), 1), "taper {args:?}\n{}", said.err);
    for part in parts {
        assert!(errors[0].contains(part), "`{part}` is not in\n{}", errors[0]);
    }
}

/// The settings of a short run.
const SHORT: [&str; 10] = [
    "train",
    "--quiet",
    "--model",
    "resnet20",
    "--sparsity",
    "0.5",
    "--batch-size",
    "8",
    "--max-steps",
    "2",
];

/// The recipe in a pruned checkpoint.
fn recipe(path: &Path) -> Value {
    PrunedCheckpoint::load(path).expect("a checkpoint").recipe
}

#[test]
fn a_folder_is_found_again_without_the_hub() {
    let folder = Folder::new();
    let data = cifar_of_noise(&folder);
    // The data folder is given relative to the working directory.
    let train = |more: &[&str]| succeed(&folder, &[&SHORT[..], more].concat());
    train(&["--data", "data", "--out", "run"]);
    train(&["--data", "data", "--out", "limited", "--set", "train.limit=8"]);
    for run in ["run", "limited"] {
        let checkpoint = folder.text(&format!("{run}/pruned.safetensors"));
        let stored = recipe(checkpoint.as_ref());
        assert_eq!(
            (&stored["data"], &stored["data_source"]),
            (&"cifar100".into(), &data.as_str().into())
        );
        let about = json(&folder.path(&format!("{run}/run.json")));
        assert_eq!(about["data"]["source"], data.as_str());
        assert_eq!(about["data"]["name"], "cifar100");
        // The recorded recipe identifies the images by content only.
        assert!(about["recipe"].get("data_source").is_none(), "{about}");

        // From another working directory.
        let elsewhere = Folder::new();
        let said = succeed(&elsewhere, &["eval", &checkpoint]);
        assert!(said.out.contains("32 test images of cifar100"), "{}", said.out);
        succeed(&elsewhere, &["calibrate", &checkpoint, "--batches", "1", "--out", "fresh"]);
        assert_eq!(recipe(&elsewhere.path("fresh")), stored);
        let more = ["--from", &checkpoint, "--method", "finetune", "--out", "tuned"];
        let tune: Vec<&str> =
            SHORT.iter().copied().filter(|word| !["--sparsity", "0.5"].contains(word)).collect();
        succeed(&elsewhere, &[&tune[..], &more].concat());
        assert_eq!(
            recipe(&elsewhere.path("tuned/pruned.safetensors"))["data_source"],
            data.as_str()
        );
    }

    // The data folder has moved.
    std::fs::rename(&data, folder.path("moved")).expect("a move");
    let checkpoint = folder.text("run/pruned.safetensors");
    let from = [&SHORT[..], &["--from", &checkpoint, "--out", "late"]].concat();
    let calibrate = ["calibrate", &checkpoint, "--out", "late"];
    for args in [&["eval", &checkpoint][..], &calibrate, &from] {
        refuse(&folder, args, &[&checkpoint, &data, "that folder does not exist", "--data"]);
    }
    succeed(&folder, &["eval", &checkpoint, "--data", "moved"]);

    // The folder now holds other images.
    std::fs::rename(folder.path("moved"), &data).expect("a move");
    let test = folder.path("data/test.bin");
    let mut changed = bytes(&test);
    changed[100] ^= 1;
    std::fs::write(&test, changed).expect("a writable file");
    refuse(&folder, &["eval", &checkpoint], &["other images", "fingerprint", "--data"]);
    succeed(&folder, &["eval", &checkpoint, "--data", &data]);
}

/// Puts a snapshot into the hub cache and points `main` to it.
fn snapshot(folder: &Folder, commit: &str, file: &str) {
    let repo = folder.path("hf/hub/datasets--uoft-cs--cifar100");
    let files = repo.join("snapshots").join(commit).join("cifar100");
    std::fs::create_dir_all(&files).expect("a folder");
    std::fs::create_dir_all(repo.join("refs")).expect("a folder");
    let file = repository().join("testdata/golden/loaders").join(file);
    for part in ["train", "test"] {
        let name = format!("{part}-00000-of-00001.parquet");
        std::fs::copy(&file, files.join(name)).expect("a copy");
    }
    std::fs::write(repo.join("refs/main"), commit).expect("a reference");
}

#[test]
fn a_commit_of_the_hub_is_recorded_and_held() {
    let (first, second) = ("a".repeat(40), "b".repeat(40));
    let folder = Folder::new();
    snapshot(&folder, &first, "train.plain.parquet");
    let train = [&SHORT[..], &["--out", "run"]].concat();
    succeed(&folder, &[&train[..], &["--data", "cifar100"]].concat());
    let about = json(&folder.path("run/run.json"));
    let source = format!("cifar100@{first}");
    assert_eq!(about["data"]["source"], source.as_str());
    assert_eq!(about["data"]["commit"], first.as_str());
    let name = "cifar100/train-00000-of-00001.parquet";
    let digest = about["data"]["sha256"][name].as_str().expect("a digest").to_owned();
    assert_eq!(digest.len(), 64);
    let checkpoint = folder.text("run/pruned.safetensors");
    assert_eq!(recipe(checkpoint.as_ref())["data_source"], source.as_str());
    let fetched = succeed(&folder, &["fetch", "cifar100", "--json"]);
    let fetched: Value = serde_json::from_str(&fetched.out).expect("JSON");
    assert_eq!(
        (&fetched["commit"], &fetched["sha256"][0]),
        (&first.as_str().into(), &digest.into())
    );

    // The branch now points to another commit: the same images, encoded differently.
    snapshot(&folder, &second, "train.snappy.parquet");
    let resume = [&train[..], &["--resume", "--data"]].concat();
    let parts = ["run on other files", name, &format!("--data {source}")];
    refuse(&folder, &[&resume[..], &["cifar100"]].concat(), &parts);
    succeed(&folder, &[&resume[..], &[&source]].concat());
    succeed(&folder, &["eval", &checkpoint]);
    // Later commands read the files of the recorded commit and verify them.
    let repo = folder.path("hf/hub/datasets--uoft-cs--cifar100");
    std::fs::write(repo.join("snapshots").join(&first).join(name), "half").expect("a file");
    let said = run(&mut offline(&folder, &["eval", &checkpoint]));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("the cached file is corrupt"), "{}", said.err);
}
