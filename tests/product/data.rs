//! Runs record their data set, and later commands find it again.

use crate::support::{Folder, Said, bytes, cifar_of_noise, json, png, repository, run, taper};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
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

/// An image folder of two classes, whose images differ in size: those of `red` are red, those of `teal` are not.
fn colours(folder: &Folder, per_class: u8) {
    for (part, n) in [("train", per_class), ("test", 4)] {
        std::fs::create_dir_all(folder.path(&format!("photos/{part}"))).expect("a folder");
        for (class, colour) in [("red", [200, 40, 40]), ("teal", [30, 150, 150])] {
            std::fs::create_dir(folder.path(&format!("photos/{part}/{class}"))).expect("a folder");
            for i in 0..n {
                let [height, width] = [20 + u32::from(i), 50 - u32::from(i)];
                let pixels: Vec<u8> = (0..height * width)
                    .flat_map(|at| colour.map(|c: u8| c.wrapping_add((at % 23) as u8 + 2 * i)))
                    .collect();
                png(folder, &format!("photos/{part}/{class}/{i}.png"), [3, height, width], &pixels);
            }
        }
    }
}

#[test]
fn an_image_folder_is_trained_on_evaluated_and_predicted() {
    let folder = Folder::new();
    colours(&folder, 16);
    let train = ["train", "--quiet", "--model", "resnet20@0.1", "--data", "photos", "--out", "run"];
    let short = ["--epochs", "20", "--batch-size", "8", "--sparsity", "0.5"];
    succeed(&folder, &[&train[..], &short].concat());
    let record = json(&folder.path("run/run.json"));
    assert_eq!(
        (&record["data"]["name"], &record["data"]["classes"], &record["data"]["n_train"]),
        (&"photos".into(), &2.into(), &32.into())
    );
    assert_eq!(record["recipe"]["train"]["normalise"], "imagenet");
    let accuracy = json(&folder.path("run/result.json"))["test_accuracy"].as_f64();
    assert_eq!(accuracy, Some(1.0));
    // From the checkpoint alone: where the images are, and what the classes are called.
    let said = succeed(&folder, &["eval", "run/pruned.safetensors", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said.out).expect("JSON")["test_accuracy"], 1.0);
    let export = ["export", "run/pruned.safetensors", "--format", "onnx", "--out", "n.onnx"];
    succeed(&folder, &export);
    let csr = ["export", "run/pruned.safetensors", "--format", "csr", "--out", "n.safetensors"];
    succeed(&folder, &csr);
    // Exported files go to other machines: they name the data set, but not its folder.
    let photos = folder.text("photos");
    let names_the_folder = |file: &str| {
        bytes(&folder.path(file)).windows(photos.len()).any(|part| part == photos.as_bytes())
    };
    assert!(names_the_folder("run/pruned.safetensors"));
    for network in ["n.onnx", "n.safetensors"] {
        assert!(!names_the_folder(network), "{network}");
        let elsewhere = Folder::new();
        let network = folder.text(network);
        refuse(&elsewhere, &["eval", &network], &[&network, "photos", "--data"]);
        let said = succeed(&elsewhere, &["eval", &network, "--data", &photos, "--json"]);
        assert_eq!(serde_json::from_str::<Value>(&said.out).expect("JSON")["test_accuracy"], 1.0);
    }
    for network in ["run/pruned.safetensors", "n.onnx"] {
        let predict = ["predict", network, "photos/test/teal/3.png", "--top", "1"];
        let said = succeed(&folder, &predict);
        assert!(said.out.ends_with("teal\n"), "{}", said.out);
    }
    std::fs::rename(folder.path("photos"), folder.path("pictures")).expect("a folder");
    refuse(&folder, &["eval", "run/pruned.safetensors"], &["photos", "--data"]);
    succeed(&folder, &["eval", "run/pruned.safetensors", "--data", "pictures"]);
    // With another name, the class is at another place.
    for part in ["train", "test"] {
        let of = |class: &str| folder.path(&format!("pictures/{part}/{class}"));
        std::fs::rename(of("teal"), of("aqua")).expect("a folder");
    }
    for network in ["run/pruned.safetensors", "n.onnx"] {
        let said = ["class red of", "is class aqua of pictures", "rename"];
        refuse(&folder, &["eval", network, "--data", "pictures"], &said);
    }
    let from =
        ["train", "--from", "run/pruned.safetensors", "--data", "pictures", "--out", "again"];
    let said = succeed(&folder, &[&from[..], &["--max-steps", "1", "--batch-size", "8"]].concat());
    assert!(said.err.contains("class red of checkpoint"), "{}", said.err);
}

#[test]
fn an_image_folder_is_resized_for_each_model() {
    let folder = Folder::new();
    colours(&folder, 4);
    let train = ["train", "--quiet", "--data", "photos", "--max-steps", "1", "--batch-size", "8"];
    for (model, normalise) in [("digits-cnn", "digits"), ("mobilenet-v1@0.1", "imagenet")] {
        succeed(&folder, &[&train[..], &["--model", model, "--out", model]].concat());
        let record = json(&folder.path(model).join("run.json"));
        assert_eq!(record["recipe"]["train"]["normalise"], normalise);
        succeed(&folder, &["eval", &format!("{model}/pruned.safetensors")]);
    }
    let constants = ["--set", "train.normalise=\"0.5,0.5,0.5/0.25,0.25,0.25\"", "--out", "own"];
    succeed(&folder, &[&train[..], &constants, &["--model", "resnet20@0.1"]].concat());
    let few = ["--set", "train.normalise=\"0.5/0.25\"", "--out", "few"];
    refuse(&folder, &[&train[..], &few].concat(), &["1 channels", "have 3"]);
    std::fs::write(folder.path("photos/train/red/x.webp"), "").expect("a file");
    let said = run(&mut offline(&folder, &[&train[..], &["--out", "other"]].concat()));
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("x.webp") && said.err.contains("convert it"), "{}", said.err);
}
