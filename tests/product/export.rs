//! Export and import: other tools read Taper's files, and Taper imports theirs.
//!
//! Tests that need Python modules are skipped with a message where these are missing.

#[path = "../golden/fill.rs"]
#[allow(dead_code, reason = "the golden tests use all of it")]
mod fill;

use crate::support;
use crate::support::{Folder, bytes, cifar_of_noise, python, refuse, repository, run, succeed};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::{path::Path, process::Command};
use taper::{
    core::rng::Rng,
    export::{Format, Network, Options, export},
    graph,
    nn::{Model, Pass},
    train::checkpoint::{PrunedCheckpoint, TensorFile},
    zoo::Architecture,
};

/// Trains a few steps on random images (`digits-cnn`: on the digits). Returns the path of the pruned checkpoint.
fn train(folder: &Folder, model: &str, sparsity: &str) -> String {
    let data =
        if folder.path("data").exists() { folder.text("data") } else { cifar_of_noise(folder) };
    let run = format!("{model}-{sparsity}");
    let out = folder.text(&run);
    let mut args =
        vec!["train", "--quiet", "--model", model, "--sparsity", sparsity, "--out", &out];
    if model != "digits-cnn" {
        args.extend(["--data", &data, "--batch-size", "32", "--max-steps", "3"]);
    }
    succeed(&args);
    folder.text(&format!("{run}/pruned.safetensors"))
}

fn load(path: &Path) -> (Box<dyn Model>, Architecture) {
    let checkpoint = PrunedCheckpoint::load(path).expect("a checkpoint");
    let architecture = Architecture::find(&checkpoint.architecture).expect("an architecture");
    let model = architecture.build(checkpoint.classes, 1, &Device::Cpu).expect("a network");
    checkpoint.load_into(model.params(), path).expect("the same structure");
    (model, architecture)
}

/// Writes random images and the logits of a network for them.
fn save_logits(model: &dyn Model, architecture: &Architecture, path: &Path) {
    let [channels, height, width] = architecture.image;
    let mut rng = Rng::for_key([1]);
    let images = (0..8 * channels * height * width).map(|_| rng.normal() as f32).collect();
    let images: Vec<f32> = images;
    let images =
        Tensor::from_vec(images, (8, channels, height, width), &Device::Cpu).expect("images");
    let logits = model.forward(&images, &Pass::eval()).expect("logits");
    let tensors = [("input".to_string(), images), ("logits".to_string(), logits)];
    TensorFile { tensors: tensors.into(), ..TensorFile::default() }.save(path).expect("a file");
}

#[test]
fn other_tools_read_what_is_exported() {
    let modules =
        "compressed_tensors, numpy, onnx, onnxruntime, openvino, safetensors, scipy.sparse";
    let Some(python) = python(modules) else { return };
    let folder = Folder::new();
    for model in ["digits-cnn", "resnet20", "mobilenet-v1", "densenet40-24"] {
        let checkpoint = train(&folder, model, "0.95");
        let files = folder.path(&format!("{model}-files"));
        std::fs::create_dir(&files).expect("a folder");
        std::fs::copy(&checkpoint, files.join("pruned.safetensors")).expect("a copy");
        let (network, architecture) = load(checkpoint.as_ref());
        save_logits(&*network, &architecture, &files.join("logits.safetensors"));
        let exports: [(&str, &[&str]); 8] = [
            ("bitmask.safetensors", &["--format", "bitmask"]),
            ("compact.safetensors", &["--format", "bitmask", "--compact"]),
            ("csr.safetensors", &["--format", "csr"]),
            ("npz.d", &["--format", "npz"]),
            ("plain.onnx", &["--format", "onnx"]),
            ("folded.onnx", &["--format", "onnx", "--fold-bn"]),
            ("half.onnx", &["--format", "onnx", "--dtype", "f16"]),
            ("sparse.onnx", &["--format", "onnx", "--sparse-initializer"]),
        ];
        for (name, args) in exports {
            let out = files.join(name).display().to_string();
            succeed(&[&["export", &checkpoint, "--out", &out], args].concat());
        }
        let said = run(Command::new(&python).arg(repository().join("tests/export.py")).arg(&files));
        assert_eq!(said.code, Some(0), "{model}: {}", said.err);
        let seen: Value =
            serde_json::from_str(said.out.lines().last().expect("a line")).expect("JSON");
        for name in ["bitmask.safetensors", "compact.safetensors", "csr.safetensors", "npz.d"] {
            assert_eq!(seen[name], true, "{model}: {name} in {seen}");
        }
        let largest = 1.0 + seen["max_abs_logit"].as_f64().expect("a number");
        for (name, runtimes) in [
            ("plain.onnx", &["onnxruntime", "openvino"][..]),
            ("folded.onnx", &["onnxruntime", "openvino"]),
            ("half.onnx", &["onnxruntime", "openvino"]),
            ("sparse.onnx", &["onnxruntime"]),
        ] {
            // f16 has a significand of eleven bits. Rounding errors of 2⁻¹¹ add up over the layers.
            let tolerance = if name == "half.onnx" { 1e-2 } else { 3e-5 } * largest;
            for runtime in runtimes {
                let error = seen[name][runtime].as_f64().expect("a number");
                assert!(error <= tolerance, "{model}: {name} in {runtime}: {seen}");
            }
        }
    }
}

#[test]
fn every_operation_means_the_same_in_onnxruntime() {
    let Some(python) = python("numpy, onnx, onnxruntime, safetensors") else { return };
    let folder = Folder::new();
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..80u64 {
        let graph = graph::random::graph(seed);
        let images = graph::random::images(&graph, 2, seed);
        let output = graph::interpret(&graph, &images).expect("a valid graph");
        let has_limit = output.iter().any(|value| !value.is_finite());
        let whole = Network::from(graph);
        let small = whole.shrunk().expect("a valid graph");
        for (name, network) in [(format!("{seed}"), whole), (format!("{seed}-small"), small)] {
            let path = folder.path(&format!("{name}.onnx"));
            match export(&network, Format::Onnx, &path, &Options::default()) {
                Ok(_) if !has_limit => {}
                Ok(_) => std::fs::remove_file(&path).expect("a file"),
                Err(error) => {
                    assert!(error.to_string().contains("with dilation"), "{name}: {error}");
                }
            }
            if !path.exists() {
                continue;
            }
            let graph = network.graph();
            kinds.extend(graph.nodes.iter().map(|node| node.op.name()));
            let batch = |values: &[f32], dims: &[usize]| {
                let dims = [&[2], dims].concat();
                Tensor::from_vec(values.to_vec(), dims, &Device::Cpu).expect("a tensor")
            };
            let tensors = [
                ("input".to_string(), batch(&images, graph.input_dims())),
                ("output".to_string(), batch(&output, graph.output_dims())),
            ];
            let file = TensorFile { tensors: tensors.into(), ..TensorFile::default() };
            file.save(&path.with_extension("safetensors")).expect("a file");
        }
    }
    assert!(kinds.len() >= 17, "{kinds:?}");
    let script = repository().join("tests/operations.py");
    let said = run(Command::new(&python).arg(script).arg(folder.path("")));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let seen: Value = serde_json::from_str(&said.out).expect("JSON");
    let seen = seen.as_object().expect("an object");
    assert!(seen.len() > 120, "{} of 160 graphs", seen.len());
    for (seed, difference) in seen {
        assert!(difference.as_f64().is_some_and(|d| d <= 1e-5), "{seed}: {difference}");
    }
}

#[test]
fn a_state_dict_of_pytorch_is_imported_with_equal_logits() {
    let Some(python) = python("torch, safetensors") else { return };
    let folder = Folder::new();
    let golden = repository().join("testdata/golden/zoo_resnet20");
    let seed =
        support::json(&golden.with_extension("json"))["fill"]["seed"].as_u64().expect("a seed");
    let model = taper::zoo::build("resnet20", 100, 0, &Device::Cpu).expect("a network");
    fill::fill(model.params(), seed);
    let entries = model.params().entries().iter();
    let tensors = entries.map(|e| (e.name.clone(), e.var.as_tensor().clone())).collect();
    let file = TensorFile { tensors, ..TensorFile::default() };
    file.save(&folder.path("state.safetensors")).expect("a file");
    // A plain state dict; with the names of DataParallel; under a key; with a weight that is a strided view.
    let script = "
import sys, torch
from safetensors.torch import load_file
state = load_file(sys.argv[1] + '/state.safetensors')
torch.save(state, sys.argv[1] + '/plain.pth')
torch.save({'module.' + k: v for k, v in state.items()}, sys.argv[1] + '/parallel.pt')
torch.save({'epoch': 3, 'state_dict': state}, sys.argv[1] + '/nested.pt')
weight = state['conv1.weight']
whole = torch.stack([weight, weight]).permute(4, 0, 1, 2, 3).contiguous().permute(1, 2, 3, 4, 0)
torch.save({**state, 'conv1.weight': whole[1]}, sys.argv[1] + '/part.pt')
";
    let root = folder.path("").display().to_string();
    let said = run(Command::new(&python).args(["-c", script, &root]));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let expected = TensorFile::load(&golden.with_extension("safetensors")).expect("golden values");
    for name in ["plain.pth", "parallel.pt", "nested.pt", "part.pt"] {
        let out = folder.text(&format!("{name}.safetensors"));
        refuse(&["import", &folder.text(name), "--out", &out], 2, &[name, "pass --model"]);
        let args = ["import", &folder.text(name), "--model", "resnet20", "--out", &out, "--json"];
        let seen: Value = serde_json::from_str(&succeed(&args).out).expect("JSON");
        assert_eq!((&seen["classes"], &seen["sparsity"]), (&json!(100), &json!(0.0)), "{seen}");
        let (model, _) = load(out.as_ref());
        let images = &expected.tensors["dense.input"];
        let logits = model.forward(images, &Pass::eval()).expect("logits");
        let (found, want) =
            (fill::flat(&logits), fill::flat(&expected.tensors["dense.logits_eval"]));
        let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
        let error = found.iter().zip(&want).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error <= 3e-5 * (1.0 + largest), "{name}: {error} at {largest}");
    }
    refuse(
        &[
            "import",
            &folder.text("plain.pth"),
            "--model",
            "densenet40-24",
            "--out",
            &folder.text("x"),
        ],
        1,
        &["plain.pth", "not in the network"],
    );
}

#[test]
fn export_and_import_are_bit_identical_and_files_are_small_enough() {
    let folder = Folder::new();
    for (sparsity, most) in [("0.95", 0.12), ("0.99", 0.04)] {
        let checkpoint = train(&folder, "resnet20", sparsity);
        let before = bytes(checkpoint.as_ref());
        // Exported files do not name the folder of the images; everything else is kept.
        let mut portable = TensorFile::load(checkpoint.as_ref()).expect("a checkpoint");
        let text = portable.metadata.get_mut("recipe").expect("a recipe");
        let mut recipe: Value = serde_json::from_str(text).expect("JSON");
        let folder_of_images = recipe.as_object_mut().expect("an object").remove("data_source");
        assert_eq!(folder_of_images, Some(folder.text("data").into()));
        *text = recipe.to_string();
        let expected = folder.path("expected.safetensors");
        portable.save(&expected).expect("a file");
        let expected = bytes(&expected);
        let mut smallest = f64::INFINITY;
        for format in ["dense", "bitmask", "csr", "npz", "onnx"] {
            let file = folder.text(&format!("{sparsity}-{format}.file"));
            let file = if format == "onnx" { format!("{file}.onnx") } else { file };
            let args = ["export", &checkpoint, "--format", format, "--out", &file, "--json"];
            let seen: Value = serde_json::from_str(&succeed(&args).out).expect("JSON");
            smallest = smallest.min(seen["share"].as_f64().expect("a share"));
            let out = folder.text(&format!("{sparsity}-{format}.safetensors"));
            succeed(&["import", &file, "--out", &out]);
            // ONNX does not store `num_batches_tracked`.
            if format != "onnx" {
                assert!(bytes(out.as_ref()) == expected, "{format} at {sparsity}");
            }
            assert!(bytes(checkpoint.as_ref()) == before, "{format} at {sparsity}");
        }
        assert!(smallest <= most, "at {sparsity}: {smallest}");
        println!("smallest file at {sparsity}: {smallest:.4} of dense f32");
    }
}

#[test]
fn exported_files_can_be_exported_again_folded_or_not() {
    let folder = Folder::new();
    let checkpoint = train(&folder, "digits-cnn", "0.9");
    for fold in [&[][..], &["--fold-bn"]] {
        let export = |from: &str, format: &str, name: &str, fold: &[&str]| {
            let out = folder.text(&format!("{}{name}", fold.len()));
            let args = ["export", from, "--force", "--format", format, "--out", &out];
            succeed(&[&args[..], fold].concat());
            out
        };
        let of_checkpoint = |format: &str| export(&checkpoint, format, "expected", fold);
        for format in ["dense", "bitmask", "csr", "npz", "onnx"] {
            let exported = export(&checkpoint, format, format, fold);
            // ONNX does not store `num_batches_tracked`, so it cannot become a dense file with equal bytes.
            for again in ["dense", "onnx"].into_iter().skip(usize::from(format == "onnx")) {
                let found = export(&exported, again, "again", &[]);
                let expected = of_checkpoint(again);
                assert!(bytes(found.as_ref()) == bytes(expected.as_ref()), "{format} as {again}");
            }
        }
    }
    let foreign = repository().join("testdata/import/torch/plain.pt").display().to_string();
    let out = folder.text("out");
    let args = ["export", &foreign, "--format", "csr", "--out", &out];
    refuse(&args, 2, &["plain.pt", "does not record its architecture", "taper import --model"]);
}

#[test]
fn an_edited_onnx_file_is_exported_as_it_computes() {
    let folder = Folder::new();
    let checkpoint = train(&folder, "digits-cnn", "0.9");
    let [whole, edited, again] =
        ["whole", "edited", "again"].map(|n| folder.text(&format!("{n}.onnx")));
    succeed(&["export", &checkpoint, "--format", "onnx", "--out", &whole]);
    // Only an attribute is changed: the names and shapes of all tensors stay.
    let mut file = bytes(&folder.path("whole.onnx"));
    let name = b"epsilon";
    let places: Vec<usize> =
        (0..file.len() - name.len()).filter(|&at| file[at..].starts_with(name)).collect();
    assert!(!places.is_empty());
    for at in places {
        let eps = 1e-5f32.to_le_bytes();
        let value = (at..at + 20).find(|&at| file[at..].starts_with(&eps)).expect("its value");
        file[value..value + 4].copy_from_slice(&10f32.to_le_bytes());
    }
    std::fs::write(&edited, file).expect("writes");
    succeed(&["export", &edited, "--format", "onnx", "--out", &again]);
    let loss = |file: &str| {
        let said = succeed(&["eval", file, "--data", "digits", "--json"]);
        let said: Value = serde_json::from_str(&said.out).expect("JSON");
        said["test_loss"].as_f64().expect("a loss")
    };
    let (before, after) = (loss(&edited), loss(&again));
    assert!(
        (before - after).abs() < 1e-4 && (before - loss(&whole)).abs() > 0.01,
        "{before} {after}"
    );

    refuse(
        &["import", &edited, "--out", &folder.text("imported.safetensors")],
        2,
        &["edited.onnx has the weights of the architecture, but computes something else"],
    );
    // A renamed tensor: the architecture does not have it any more.
    let mut file = bytes(&folder.path("edited.onnx"));
    let name = b"linear.bias";
    for at in
        (0..file.len() - name.len()).filter(|&at| file[at..].starts_with(name)).collect::<Vec<_>>()
    {
        file[at..at + name.len()].copy_from_slice(b"linear.bist");
    }
    std::fs::write(folder.path("renamed.onnx"), file).expect("writes");
    let renamed = folder.text("renamed.onnx");
    succeed(&["export", &renamed, "--format", "onnx", "--out", &again, "--force"]);
    assert!((before - loss(&again)).abs() < 1e-4);
    // It is valid for any ONNX file whose own graph is used.
    succeed(&[
        "export", &renamed, "--size", "1x8x8", "--format", "onnx", "--out", &again, "--force",
    ]);

    // A weight that is not finite.
    let mut file = bytes(Path::new(&checkpoint));
    let tensors = SafeTensors::deserialize(&file).expect("a checkpoint");
    let bias = tensors.tensor("linear.bias").expect("a bias").data().as_ptr();
    let place = bias.addr() - file.as_ptr().addr();
    file[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(folder.path("nan.safetensors"), file).expect("writes");
    refuse(
        &["eval", &folder.text("nan.safetensors")],
        1,
        &["gives a loss of NaN", "check its weights"],
    );

    let npz = folder.text("network.npz.d");
    succeed(&["export", &checkpoint, "--format", "npz", "--out", &npz]);
    let part = format!("{npz}/rest.safetensors");
    let export = ["export", &npz, "--format", "dense", "--out", &part, "--force"];
    refuse(&export, 2, &["is in the input folder"]);
    let bytes_before = bytes(&folder.path("edited.onnx"));
    refuse(&["import", &whole, "--out", &whole, "--force"], 2, &["is the input file"]);
    refuse(
        &["export", &edited, "--format", "onnx", "--out", &edited, "--force"],
        2,
        &["is the input file"],
    );
    assert_eq!(bytes(&folder.path("edited.onnx")), bytes_before);
}

#[test]
fn a_training_checkpoint_is_exported_as_if_training_ended_there() {
    let folder = Folder::new();
    let start = folder.text("feather/pruned.safetensors");
    let runs: [(&str, &[&str]); 5] = [
        ("feather", &["--sparsity", "0.9"]),
        ("gmp", &["--method", "gmp", "--sparsity", "0.95"]),
        ("dense", &["--method", "dense"]),
        ("finetune", &["--method", "finetune", "--from", &start]),
        (
            "adaptive",
            &[
                "--sparsity=0.9",
                "--set=prune.adapt=reciprocal",
                "--set=prune.drop=longest:0.5",
                "--set=prune.probes=2",
                "--set=prune.allocation=erk",
            ],
        ),
    ];
    for (name, more) in runs {
        let out = folder.text(name);
        let args = ["train", "--quiet", "--epochs", "2", "--out", &out];
        succeed(&[&args[..], more].concat());
        let export = |from: &str| {
            let out = folder.text("exported");
            succeed(&["export", from, "--force", "--format", "dense", "--out", &out]);
            bytes(out.as_ref())
        };
        let checkpoints = std::fs::read_dir(folder.path(name).join("checkpoints"));
        let checkpoints =
            checkpoints.expect("a folder").map(|entry| entry.expect("an entry").path());
        let last = checkpoints.max().expect("a checkpoint").display().to_string();
        let expected = export(&folder.text(&format!("{name}/pruned.safetensors")));
        assert!(export(&last) == expected, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn links_to_the_files_of_a_folder_are_followed() {
    let folder = Folder::new();
    let checkpoint = train(&folder, "digits-cnn", "0.9");
    let (exported, linked) = (folder.text("npz"), folder.path("linked"));
    succeed(&["export", &checkpoint, "--format", "npz", "--out", &exported]);
    std::fs::create_dir(&linked).expect("a folder");
    for entry in std::fs::read_dir(&exported).expect("a folder") {
        let file = entry.expect("an entry").path();
        let link = linked.join(file.file_name().expect("a name"));
        std::os::unix::fs::symlink(&file, link).expect("a link");
    }
    let out = folder.text("back.safetensors");
    succeed(&["import", &linked.display().to_string(), "--out", &out]);
    assert!(bytes(out.as_ref()) == bytes(checkpoint.as_ref()));
}

#[test]
fn candle_loads_the_dense_file() {
    let folder = Folder::new();
    let checkpoint = train(&folder, "digits-cnn", "0.9");
    let dense = folder.text("dense.safetensors");
    succeed(&["export", &checkpoint, "--format", "dense", "--out", &dense]);
    let vars =
        VarBuilder::from_buffered_safetensors(bytes(dense.as_ref()), DType::F32, &Device::Cpu);
    let vars = vars.expect("a file for candle");
    let (model, _) = load(checkpoint.as_ref());
    for entry in model.params().entries().iter().filter(|e| e.var.dtype() == DType::F32) {
        let (scope, end) = entry.name.rsplit_once('.').expect("a scope");
        let found = vars.pp(scope).get(entry.var.shape(), end).expect("a tensor");
        assert_eq!(fill::flat(&found), fill::flat(&entry.var), "{}", entry.name);
    }
    let content = bytes(dense.as_ref());
    let (_, header) = SafeTensors::read_metadata(&content).expect("a header");
    let metadata = header.metadata().as_ref().expect("metadata");
    for key in ["architecture", "classes", "sparsity", "recipe", "tool", "kind"] {
        assert!(metadata.contains_key(key), "{key} in {metadata:?}");
    }
}

#[test]
fn wrong_exports_and_imports_are_refused_in_a_sentence() {
    let folder = Folder::new();
    let checkpoint = train(&folder, "digits-cnn", "0.9");
    let out = folder.text("out.onnx");
    let export = |more: &[&str], code: i32, parts: &[&str]| {
        refuse(&[&["export", &checkpoint, "--out", &out], more].concat(), code, parts);
        assert!(!Path::new(&out).exists());
    };
    export(&["--format", "csr", "--compact"], 2, &["--compact", "bitmask"]);
    export(&["--format", "csr", "--sparse-initializer"], 2, &["--sparse-initializer", "onnx"]);
    export(&["--format", "npz", "--dtype", "f16"], 2, &["f16"]);
    export(&["--format", "onnx", "--dtype", "f16", "--sparse-initializer"], 2, &["f32"]);
    let unknown = run(&mut support::taper(&["export", &checkpoint, "--format", "zip"]));
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
    assert!(unknown.err.contains("dense, bitmask, csr, npz, onnx"), "{}", unknown.err);

    succeed(&["export", &checkpoint, "--format", "onnx", "--fold-bn", "--out", &out]);
    let back = folder.text("back.safetensors");
    refuse(
        &["import", &out, "--out", &back],
        1,
        &["conv1.bias, conv2.bias, conv3.bias are not in the network", "bn1.bias"],
    );
    export_again(&checkpoint, &out);
    refuse(&["import", &checkpoint, "--out", &checkpoint], 2, &["exists already", "--force"]);
    refuse(&["import", &checkpoint, "--model", "resnet21", "--out", &back], 2, &["resnet21"]);
    refuse(
        &["import", &folder.text("nowhere.onnx"), "--out", &back],
        1,
        &["cannot read", "nowhere.onnx"],
    );
    assert!(!Path::new(&back).exists());
}

#[test]
fn a_state_dict_that_does_not_fit_lists_its_names() {
    let folder = Folder::new();
    let out = folder.text("out.safetensors");
    let files = repository().join("testdata/import/torch");
    let import = |name: &str, parts: &[&str]| {
        let file = files.join(name).display().to_string();
        refuse(&["import", &file, "--out", &out], 2, &[name, "pass --model"]);
        refuse(&["import", &file, "--model", "digits-cnn", "--out", &out], 1, parts);
        assert!(!Path::new(&out).exists());
    };
    let missing = "tensors bn1.bias, bn1.running_mean, bn1.running_var, bn1.weight, bn2.bias, bn2.running_mean and";
    import("twice", &["tensors bn.bias, bn.num_batches_tracked", "not in the network", missing]);
    import("imagenet.pth.tar", &["conv.weight", missing]);
    import("legacy.th", &["conv.weight", missing]);
    let plain = files.join("plain.pt").display().to_string();
    refuse(&["eval", &plain], 1, &["plain.pt", "a PyTorch file; import it first"]);
    let whole = files.join("whole.pt").display().to_string();
    refuse(&["import", &whole, "--model", "digits-cnn", "--out", &out], 1, &["an object of class"]);
}

/// An existing file is overwritten only with `--force`.
fn export_again(checkpoint: &str, out: &str) {
    let before = bytes(out.as_ref());
    refuse(
        &["export", checkpoint, "--format", "onnx", "--out", out],
        2,
        &["exists already", "--force"],
    );
    assert!(bytes(out.as_ref()) == before);
    succeed(&["export", checkpoint, "--format", "onnx", "--out", out, "--force"]);
    assert!(bytes(out.as_ref()) != before);
}
