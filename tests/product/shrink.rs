//! `taper shrink` removes dead channels: equal results, smaller files, and files that other commands can read.

use crate::support::{Folder, png, refuse, repository, succeed};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use taper::{
    core::rng::Rng,
    data::{Dataset, Loader, LoaderConfig, OpenOptions},
    export::{Format, Network, Options, export},
    infer::{self, Engine},
    nn::{Gates, Model, ParamKind, Pass},
    onnx,
    train::checkpoint::PrunedCheckpoint,
    zoo::Architecture,
};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Trains on the digits and prunes half of the filters. Returns the path of the checkpoint.
fn filter_pruned(folder: &Folder) -> String {
    let out = folder.text("run");
    let pins = r#"prune.pins={ "linear.weight" = 0 }"#;
    let args = ["train", "--quiet", "--epochs", "4", "--method", "filter", "--sparsity", "0.5"];
    succeed(&[&args[..], &["--set", pins, "--out", &out]].concat());
    folder.text("run/pruned.safetensors")
}

/// A checkpoint of `digits-cnn` with random weights. `keeps` receives the name of a layer and the index of a filter;
/// filters that it rejects have weights of 0.
fn drawn(folder: &Folder, name: &str, keeps: impl Fn(&str, usize) -> bool) -> String {
    let model = taper::zoo::build("digits-cnn", 10, 0, &Device::Cpu).expect("a network");
    for (info, var) in model.params().prunable() {
        let dims = var.dims().to_vec();
        let each = var.elem_count() / dims[0];
        let values = var.flatten_all().and_then(|v| v.to_vec1::<f32>()).expect("values");
        let kept = values.iter().enumerate();
        let kept = kept.map(|(i, &v)| if keeps(&info.name, i / each) { v } else { 0.0 });
        let kept = Tensor::from_vec(kept.collect::<Vec<f32>>(), dims, &Device::Cpu);
        var.set(&kept.expect("a tensor")).expect("the same shape");
    }
    let recipe = json!({ "data": "digits", "train": { "normalise": "digits" } });
    let path = folder.path(name);
    PrunedCheckpoint::of(&*model, "digits-cnn", 10, 0.5, recipe).save(&path).expect("a file");
    folder.text(name)
}

#[test]
fn a_network_without_half_of_its_filters_is_shrunk_and_works_everywhere() {
    let folder = Folder::new();
    let checkpoint = filter_pruned(&folder);
    let shrunk = parse(&succeed(&["shrink", &checkpoint, "--json"]).out);
    let small = folder.text("run/pruned.shrunk.onnx");
    assert_eq!(shrunk["file"], small.as_str());
    let inspect = |file: &str| parse(&succeed(&["inspect", file, "--json"]).out);
    let layers = inspect(&checkpoint)["layers"].as_array().expect("layers").clone();
    let filters = |i: usize| {
        let size = |axis: usize| layers[i]["shape"][axis].as_u64().expect("a size");
        (size(0), layers[i]["n_kept"].as_u64().expect("a number") / (9 * size(1)))
    };
    let mut reads = (1, 1);
    // The outputs of the convolutions have 8 × 8, 4 × 4 and 4 × 4 pixels.
    for (i, pixels) in [64, 16, 16].into_iter().enumerate() {
        let (all, kept) = filters(i);
        assert!(kept < all && kept > all / 3, "{kept} of {all}");
        let expected = json!({
            "name": format!("conv{}.weight", i + 1),
            "shape": { "before": [all, reads.0, 3, 3], "after": [kept, reads.1, 3, 3] },
            "macs": {
                "before": all * reads.0 * 9 * pixels,
                "after": kept * reads.1 * 9 * pixels,
            },
        });
        assert_eq!(shrunk["layers"][i], expected);
        reads = (all, kept);
    }
    let pair = |key: &str| ["before", "after"].map(|when| shrunk[key][when].as_u64().expect(key));
    assert_eq!(pair("macs")[0], 378_496);
    let [before, after] = pair("n_params");
    assert!(before == 24_058 && after < before / 2, "{before} {after}");
    let [before, after] = pair("bytes");
    assert!(after < before / 2 && after == std::fs::metadata(&small).expect("a file").len());

    // The shrunk file and the file exported from it have the accuracy of the checkpoint.
    let eval = |file: &str| parse(&succeed(&["eval", file, "--json"]).out);
    let seen = eval(&checkpoint);
    let again = folder.text("again.onnx");
    let folded = ["export", &small, "--format", "onnx", "--fold-bn", "--out", &again];
    succeed(&folded);
    for file in [&small, &again] {
        let found = eval(file);
        assert_eq!(found["test_accuracy"], seen["test_accuracy"], "{file}");
        let loss = |seen: &Value| seen["test_loss"].as_f64().expect("a loss");
        assert!((loss(&found) - loss(&seen)).abs() < 1e-6 * loss(&seen), "{found} {seen}");
        assert_eq!((&found["data"], &found["engine"]), (&json!("digits"), &json!("compiled")));
    }
    assert!(seen["test_accuracy"].as_f64() > Some(0.5), "{seen}");
    assert!(succeed(&["eval", &small]).out.starts_with("digits-cnn, shrunk on "));

    let found = inspect(&small);
    let shapes = |list: &Value, key: fn(&Value) -> &Value| {
        let layers = list["layers"].as_array().expect("layers").iter();
        layers.map(|layer| key(layer).clone()).collect::<Vec<Value>>()
    };
    let after = shapes(&shrunk, |layer| &layer["shape"]["after"]);
    assert_eq!(shapes(&found, |layer| &layer["shape"]), after);
    assert_eq!(found["macs_dense"], shrunk["macs"]["after"]);
    assert_eq!(found["n_params"], shrunk["n_params"]["after"]);
    let table = succeed(&["inspect", &small]).out;
    assert!(table.contains("conv3.weight") && table.contains("digits-cnn, shrunk: "), "{table}");

    for file in [&small, &again] {
        let bench = parse(&succeed(&["bench", file, "--rounds", "2", "--json"]).out);
        assert!(bench["p50_ms"].as_f64() > Some(0.0), "{bench}");
    }
    let picture = png(&folder, "picture.png", [1, 8, 8], &[99; 64]);
    let predict = |file: &str| parse(&succeed(&["predict", file, &picture, "--json"]).out);
    assert_eq!(
        predict(&small)[0]["classes"][0]["name"],
        predict(&checkpoint)[0]["classes"][0]["name"]
    );

    // Formats without a graph hold only the tensors; reading one is an error that says so.
    for format in ["dense", "csr", "npz"] {
        let out = folder.text(&format!("tensors.{format}"));
        succeed(&["export", &small, "--format", format, "--out", &out]);
        let said = [&format!("tensors.{format}"), "a shrunk network", "`taper shrink`"];
        for command in ["bench", "eval", "inspect"] {
            refuse(&[command, &out], 2, &said);
        }
        refuse(&["import", &out, "--out", &folder.text("x")], 2, &said);
    }
    let out = folder.text("x");
    refuse(
        &["import", &small, "--out", &out],
        2,
        &["pruned.shrunk.onnx", "the original checkpoint"],
    );
    let args = ["train", "--from", &small, "--out", &out];
    refuse(&args, 1, &["pruned.shrunk.onnx", "ONNX"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn shrink_prints_a_table_and_replaces_no_file() {
    let folder = Folder::new();
    let half = drawn(&folder, "half.safetensors", |name, filter| {
        name == "linear.weight" || filter.is_multiple_of(2)
    });
    let text = succeed(&["shrink", &half]).out;
    let row = text.lines().find(|line| line.starts_with("conv2.weight")).expect("a row");
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row, ["conv2.weight", "32x16x3x3", "16x8x3x3", "73728", "18432"]);
    for part in
        ["parameters  24058 → ", "MACs        378496 → ", "half.shrunk.onnx (", " as f32 → "]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("No channel is dead"), "{text}");
    refuse(&["shrink", &half], 2, &["half.shrunk.onnx exists already", "--out", "--force"]);
    succeed(&["shrink", &half, "--force"]);
    refuse(&["shrink", &half, "--force", "-o", &half], 2, &["half.safetensors", "input file"]);

    // A network without dead channels, and one that is shrunk already.
    let dense = drawn(&folder, "dense.safetensors", |_, _| true);
    for file in [&dense, &folder.text("half.shrunk.onnx")] {
        let out = folder.text("same.onnx");
        let text = succeed(&["shrink", file, "--force", "--out", &out]).out;
        assert!(text.contains("No channel is dead: "), "{file}\n{text}");
    }

    // A layer with no kept weight: the output is the same for each image.
    let dead = drawn(&folder, "dead.safetensors", |name, _| name != "conv2.weight");
    let text = succeed(&["shrink", &dead]).out;
    assert!(text.contains("is the same for each image"), "{text}");
    let small = folder.text("dead.shrunk.onnx");
    assert_eq!(parse(&succeed(&["shrink", &dead, "--force", "--json"]).out)["is_constant"], true);
    let accuracy = |file: &str| {
        parse(&succeed(&["eval", file, "--json"]).out)["test_accuracy"].as_f64().expect("a number")
    };
    assert!((accuracy(&small) - accuracy(&dead)).abs() < 1e-12);
    succeed(&["bench", &small, "--rounds", "2"]);
    succeed(&["inspect", &small]);

    let noise = folder.write("noise.safetensors", [7; 99]);
    refuse(&["shrink", &noise], 1, &["noise.safetensors", "safetensors"]);
    refuse(&["shrink", &folder.text("nowhere")], 1, &["nowhere"]);
    refuse(&["shrink", &half, "--size", "1x8x8", "--force"], 2, &["--size", "leave it out"]);
    let engine = ["eval", &small, "--engine", "candle"];
    refuse(&engine, 2, &["dead.shrunk.onnx", "not a pruned checkpoint", "--engine"]);
    // A file of another tool, without metadata about its images.
    let foreign = repository().join("testdata/infer/network.onnx").display().to_string();
    let out = folder.text("foreign.onnx");
    succeed(&["shrink", &foreign, "--out", &out]);
    refuse(&["eval", &out], 1, &["foreign.onnx", "--data"]);
}

/// The weights of a network that are kept.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// Half of the filters of each layer except the last: those with the largest mean magnitude.
    Filters,
    /// This fraction of the weights of each filter: those with the largest magnitude. A quarter of the filters is dead.
    Weights(f64),
}

#[test]
fn networks_of_the_zoo_give_equal_results_when_they_are_shrunk() {
    let (folder, mut n_different) = (Folder::new(), 0);
    for name in ["digits-cnn", "resnet20", "mobilenet-v1", "densenet40-24"] {
        let architecture = Architecture::find(name).expect("an architecture");
        let images = digits(architecture.image);
        for kept in [Kept::Filters, Kept::Weights(0.02), Kept::Weights(0.005)] {
            let model = architecture.build(10, 1, &Device::Cpu).expect("a network");
            draw(&*model);
            prune(&*model, kept);
            take_statistics(&*model, &images);
            // The training kernels compute dead channels, too.
            let want = model.forward(&images, &Pass::eval()).expect("logits");
            let want = want.flatten_all().and_then(|v| v.to_vec1::<f32>()).expect("values");
            let what = format!("{name}, {kept:?}");

            let network = Network::of(&*model, architecture.image, BTreeMap::new()).expect(&what);
            let small = network.shrunk().expect(&what);
            let path = folder.path("small.onnx");
            let options = Options { overwrite: true, ..Options::default() };
            let written = export(&small, Format::Onnx, &path, &options).expect(&what);
            assert!(written.bytes < network.bytes() * 9 / 10, "{what}: {written:?}");
            let cost = |network: &Network| -> u64 {
                network.graph().layers().expect(&what).iter().map(|l| l.macs_dense()).sum()
            };
            assert!(cost(&small) < cost(&network) * 9 / 10, "{what}: {}", cost(&small));

            let graph = onnx::open(&path).expect(&what);
            let pixels = images.flatten_all().and_then(|v| v.to_vec1::<f32>()).expect("pixels");
            let batch = images.dims()[0];
            let options = infer::Options { batch, threads: 1, deterministic: true, variant: None };
            let found = Engine::compile(&graph, &options).expect(&what).run(&pixels).expect(&what);
            let largest = want.iter().fold(0f32, |most, v| most.max(v.abs()));
            let differences = found.iter().zip(&want).map(|(a, b)| (a - b).abs());
            let most = differences.fold(0f32, f32::max);
            // The order of f32 additions differs.
            assert!(found.len() == want.len() && most <= 1e-5 * largest, "{what}: {most:e}");
            let n = want.len() / batch;
            n_different += usize::from(want[..n] != want[n..2 * n]);
        }
    }
    // The output depends on the image, except for one network: 27 consecutive layers with 0.5 % of their weights.
    assert!(n_different >= 11, "{n_different} of 12");
}

/// Test images of the digits in this shape: pixels and channels are repeated.
fn digits([channels, height, width]: [usize; 3]) -> Tensor {
    let data = Dataset::open("digits", &OpenOptions::default()).expect("embedded");
    let config = LoaderConfig::evaluation(6, data.normalisation.clone());
    let loader = Loader::new(data.test, config).expect("images");
    let batch = loader.epoch(0).next().expect("a batch");
    let images = Tensor::from_vec(batch.images.clone(), (6, 1, 8, 8), &Device::Cpu);
    let images = images.and_then(|images| images.upsample_nearest2d(height, width));
    let images = images.and_then(|images| images.repeat((1, channels, 1, 1)));
    images.expect("images")
}

/// Minimum number of kept weights in a filter: with fewer, a deep network has no path from input to output.
const LEAST: usize = 3;

/// Sets the running statistics of batch norm from these images. Without them, the output of a deep network does not
/// depend on the image.
fn take_statistics(model: &dyn Model, images: &Tensor) {
    let change = |factor: f64, least: f64| {
        for entry in model.params().entries() {
            let summand = if entry.name.ends_with("running_var") { least } else { 0.0 };
            if entry.name.contains("running_") {
                let changed = entry.var.affine(factor, summand).expect("a tensor");
                entry.var.set(&changed).expect("the same shape");
            }
        }
    };
    // With momentum 0.1 and old statistics of 0, one step gives a tenth of the batch statistics.
    change(0.0, 0.0);
    model.forward(images, &Pass::train(&Gates::NONE)).expect("logits");
    // The summand 0.05 keeps the variance of constant channels above 0: else they would amplify rounding errors.
    change(10.0, 0.05);
}

/// Sets random weights and biases of batch norm.
fn draw(model: &dyn Model) {
    for entry in model.params().entries() {
        let mut rng = Rng::for_name(1, &entry.name);
        let mut draw = |value: fn(f64) -> f64| {
            let values = (0..entry.var.elem_count()).map(|_| value(rng.uniform()) as f32);
            let values =
                Tensor::from_vec(values.collect::<Vec<f32>>(), entry.var.dims(), &Device::Cpu);
            entry.var.set(&values.expect("a tensor")).expect("the same shape");
        };
        match entry.kind {
            Some(ParamKind::NormWeight) => draw(|u| 0.5 + u),
            // About half of the dead filters are positive, that is not 0 after ReLU.
            Some(ParamKind::Bias | ParamKind::NormBias) => draw(|u| u - 0.5),
            _ => {}
        }
    }
}

fn prune(model: &dyn Model, kept: Kept) {
    let layers: Vec<_> = model.params().prunable().collect();
    let last = layers.len() - 1;
    for (i, (_, var)) in layers.into_iter().enumerate() {
        let mut values = var.flatten_all().and_then(|v| v.to_vec1::<f32>()).expect("values");
        let n_filters = var.dims()[0];
        let each = values.len() / n_filters;
        let size = |filter: &[f32]| filter.iter().map(|v| v.abs()).sum::<f32>();
        let mut sizes: Vec<f32> = values.chunks(each).map(size).collect();
        sizes.sort_by(f32::total_cmp);
        let (share, n_dead) = match kept {
            _ if i == last => (1.0, 0),
            Kept::Filters => (1.0, n_filters / 2),
            Kept::Weights(share) => (share, n_filters / 4),
        };
        let n_kept = ((each as f64 * share) as usize).max(LEAST.min(each));
        for filter in values.chunks_mut(each) {
            let is_dead = sizes[..n_dead].contains(&size(filter));
            let mut magnitudes: Vec<f32> = filter.iter().map(|v| v.abs()).collect();
            magnitudes.sort_by(|a, b| b.total_cmp(a));
            let cut = if is_dead { f32::INFINITY } else { magnitudes[n_kept - 1] };
            filter.iter_mut().filter(|v| v.abs() < cut).for_each(|v| *v = 0.0);
        }
        let values = Tensor::from_vec(values, var.dims(), &Device::Cpu).expect("a tensor");
        var.set(&values).expect("the same shape");
    }
}
