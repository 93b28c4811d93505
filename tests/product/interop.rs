//! Loads pruned checkpoints into PyTorch, and compares the training peer in PyTorch with taper.
//!
//! Needs a Python with torch and safetensors; without one, the tests are skipped with a message.

use crate::support::{Folder, cifar_of_noise, json, python, repository, run, succeed};
use std::process::Command;
use taper::{
    core::rng::Rng,
    nn::Pass,
    train::checkpoint::{PrunedCheckpoint, TensorFile},
};

#[test]
fn pytorch_loads_a_pruned_checkpoint_and_computes_the_same_logits() {
    let Some(python) = python("torch, safetensors") else { return };
    let folder = Folder::new();
    let data = cifar_of_noise(&folder);
    let runs: [(&str, &[&str]); 2] = [
        ("resnet20", &["--data", &data, "--batch-size", "32", "--max-steps", "4"]),
        ("digits-cnn", &["--epochs", "2"]),
    ];
    for (model, more) in runs {
        let out = folder.text(model);
        let mut args =
            vec!["train", "--quiet", "--model", model, "--sparsity", "0.95", "--out", &out];
        args.extend(more);
        succeed(&args);
        let path = folder.path(model).join("pruned.safetensors");
        let checkpoint = PrunedCheckpoint::load(&path).expect("a checkpoint");
        let device = candle_core::Device::Cpu;
        let architecture = taper::zoo::Architecture::find(model).expect("an architecture");
        let net = architecture.build(checkpoint.classes, 1, &device).expect("a network");
        checkpoint.load_into(net.params(), &path).expect("the same structure");
        let [channels, height, width] = architecture.image;
        let mut rng = Rng::for_key([1]);
        let images: Vec<f32> =
            (0..8 * channels * height * width).map(|_| rng.normal() as f32).collect();
        let images = candle_core::Tensor::from_vec(images, (8, channels, height, width), &device)
            .expect("images");
        let logits = net.forward(&images, &Pass::eval()).expect("logits");
        let tensors = [("input".to_string(), images), ("logits".to_string(), logits)];
        let file = folder.path(&format!("{model}-logits.safetensors"));
        TensorFile { tensors: tensors.into(), ..TensorFile::default() }
            .save(&file)
            .expect("a file");

        let said = run(Command::new(&python)
            .arg(repository().join("tests/interop.py"))
            .args([model, &checkpoint.classes.to_string()])
            .args([&path, &file]));
        assert_eq!(said.code, Some(0), "{model}: {}", said.err);
        let seen: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        let (error, largest) =
            (seen["max_abs_error"].as_f64().unwrap(), seen["max_abs_logit"].as_f64().unwrap());
        assert!(error <= 3e-5 * (1.0 + largest), "{model}: {seen}");
        assert_eq!(
            seen["n_kept"],
            json(&folder.path(model).join("result.json"))["n_kept"],
            "{model}"
        );
    }
}

/// The peer trains with the learning rates and sparsities of taper's runs, and with the threshold of the reference.
#[test]
fn the_peer_in_pytorch_follows_the_protocol() {
    let Some(python) = python("torch, numpy") else { return };
    let curves = repository().join("results/2026-11-28-vm-cifar100-mid/curves.csv");
    let said = run(Command::new(&python).arg(repository().join("tests/peer.py")).arg(curves));
    assert_eq!(said.code, Some(0), "{}", said.err);
}
