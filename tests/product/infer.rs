//! Compiled inference from the command line: `taper bench`, `taper predict` and `taper eval`.

use crate::support;
use crate::support::{Folder, png, refuse, run, succeed, taper};
use serde_json::{Value, json};
use std::path::Path;
use taper::data::{Dataset, OpenOptions};
use taper::onnx::proto::{
    Dimension, INT64, Message, ModelProto, NodeProto, TensorProto, ValueInfo,
};

/// Trains a small network on the digits; it classifies most of them. Returns the path of its checkpoint.
fn digits(folder: &Folder) -> String {
    let out = folder.text("run");
    succeed(&["train", "--quiet", "--epochs", "6", "--sparsity", "0.8", "--out", &out]);
    folder.text("run/pruned.safetensors")
}

/// The classes of the first image.
fn classes(found: &Value) -> &Vec<Value> {
    found[0]["classes"].as_array().expect("classes")
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn bench_measures_a_checkpoint_and_its_exports() {
    let folder = Folder::new();
    let checkpoint = digits(&folder);
    let exported = ["dense", "bitmask", "csr", "npz", "onnx"].map(|format| {
        let out = folder.text(&format!("exported.{format}"));
        succeed(&["export", &checkpoint, "--format", format, "--out", &out]);
        out
    });
    let mut seen = None;
    for file in exported.iter().chain([&checkpoint]) {
        let args = ["bench", file, "--batch", "2", "--rounds", "3", "--layers", "--json"];
        let found = parse(&succeed(&args).out);
        for key in ["p50_ms", "p95_ms", "p99_ms", "images_per_second", "compile_ms"] {
            assert!(found[key].as_f64() > Some(0.0), "{key}: {found}");
        }
        assert!(found["p50_ms"].as_f64() <= found["p99_ms"].as_f64());
        let counts = [&found["batch"], &found["threads"], &found["rounds"]];
        assert_eq!(counts, [&json!(2), &json!(1), &json!(3)]);
        assert!(found["weight_bytes"].as_u64() > Some(0) && found["kernels"].is_string());
        if cfg!(unix) {
            assert!(found["peak_bytes"].as_u64() > Some(1 << 20));
        }
        let layers = found["layers"].as_array().expect("layers");
        let shares = layers.iter().filter_map(|layer| layer["share"].as_f64());
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9, "{layers:?}");
        // Every file holds the same network.
        let nonzeros: u64 = layers.iter().filter_map(|layer| layer["nonzeros"].as_u64()).sum();
        assert_eq!(*seen.get_or_insert(nonzeros), nonzeros, "{file}");
    }
    let text = succeed(&["bench", &checkpoint, "--rounds", "2", "--layers", "--deterministic"]).out;
    for part in
        ["batch 1, 1 thread", "p50", "p95", "p99", "images/s", "workspace", "non-zeros", "µs"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!succeed(&["bench", &checkpoint, "--rounds", "2"]).out.contains("non-zeros"));
    // Reports the threads that are used: one image is computed on one thread.
    let many = ["bench", &checkpoint, "--rounds", "2", "--threads", "64"];
    assert!(succeed(&many).out.contains("batch 1, 1 thread,"));
    assert_eq!(parse(&succeed(&[&many[..], &["--json"]].concat()).out)["threads"], 1);
    // A checkpoint determines its size and output.
    for (flag, value) in [("--size", "1x8x8"), ("--output", "y")] {
        refuse(&["bench", &checkpoint, flag, value], 2, &[flag, "pruned.safetensors", "leave it"]);
    }
}

/// An ONNX network with an open image size, and with the output of its first node as a second output. Returns the file
/// and the names of both outputs.
fn left_open(bytes: &[u8]) -> (Vec<u8>, [String; 2]) {
    let mut model = ModelProto::decode(bytes).expect("a file");
    let graph = model.graph.as_mut().expect("a graph");
    let names = [&graph.output[0].name, &graph.node[0].output[0]].map(String::clone);
    graph.output.push(ValueInfo { name: names[1].clone(), r#type: None });
    let tensor = graph.input[0].r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
    let shape = tensor.and_then(|tensor| tensor.shape.as_mut()).expect("a shape");
    shape.dim.iter_mut().skip(1).for_each(|dim| *dim = Dimension::default());
    (model.encode_to_vec(), names)
}

#[test]
fn flags_give_the_image_size_and_output_that_an_onnx_file_leaves_open() {
    let folder = Folder::new();
    let file = support::repository().join("testdata/infer/network.onnx");
    let bytes = support::bytes(&file);
    let dims = taper::onnx::open(&file).expect("a network").input_dims().to_vec();
    let size = dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let (bytes, [whole, first]) = left_open(&bytes);
    let file = folder.write("open.onnx", bytes);
    let picture = png(&folder, "picture.png", [1, 8, 8], &[7; 64]);
    for command in [&["bench", &file][..], &["predict", &file, &picture]] {
        let refuse = |more: &[&str], code: i32, parts: &[&str]| {
            refuse(&[command, more].concat(), code, parts);
        };
        refuse(&[], 2, &["open.onnx", "[?, ?, ?, ?]", "--size 3x224x224"]);
        refuse(&["--size", &size], 2, &["open.onnx", &whole, &first, "--output"]);
        refuse(&["--size", &size, "--output", "nothing"], 1, &["no output `nothing`"]);
        for wrong in ["3x4", "3x4x5x6", "3x0x5", "3x-1x5", "axbxc", ""] {
            refuse(&["--size", wrong], 2, &["--size", "three sizes of at least 1"]);
        }
    }
    let bench = |output: &str| {
        let args = ["bench", &file, "--size", &size, "--output", output];
        let more = ["--rounds", "1", "--layers", "--json"];
        parse(&succeed(&[&args[..], &more].concat()).out)["layers"].as_array().map(Vec::len)
    };
    assert!(bench(&whole) > bench(&first));
}

#[test]
fn bench_runs_files_of_other_tools_and_names_unsupported_nodes() {
    let folder = Folder::new();
    let file = support::repository().join("testdata/infer/network.onnx").display().to_string();
    let args = ["bench", &file, "--batch", "3", "--threads", "2", "--rounds", "2", "--json"];
    let found = parse(&succeed(&args).out);
    assert_eq!((&found["batch"], &found["threads"]), (&json!(3), &json!(2)));
    // The format is detected from the content, not from the name.
    let bytes = support::bytes(Path::new(&file));
    succeed(&["bench", &folder.write("renamed", &bytes), "--rounds", "1"]);
    refuse(&["bench", &folder.write("cut.onnx", &bytes[..300])], 1, &["cut.onnx"]);
    refuse(&["bench", "nowhere.onnx"], 1, &["nowhere.onnx"]);
    refuse(
        &["bench", &folder.write("notes.txt", "hello")],
        1,
        &["notes.txt", "its format is not supported"],
    );
    refuse(&["bench", &file, "--batch", "0"], 2, &["0"]);
    // A valid ONNX graph with a shape that the engine does not support.
    let deep = with_nodes(&bytes, &[("Unsqueeze", &[1, 2, 3, 4])]);
    let named = ["deep.onnx", "node `more0` (reshape): its value has shape"];
    refuse(&["bench", &folder.write("deep.onnx", deep), "--rounds", "1"], 1, &named);
}

/// An ONNX file with additional operators after its output, each with axes.
fn with_nodes(file: &[u8], operators: &[(&str, &[i64])]) -> Vec<u8> {
    let mut model = ModelProto::decode(file).expect("a file");
    let graph = model.graph.as_mut().expect("a graph");
    for (i, (operator, axes)) in operators.iter().enumerate() {
        let [axes_name, output] = [format!("axes{i}"), format!("more{i}")];
        let mut input = vec![std::mem::replace(&mut graph.output[0].name, output.clone())];
        if !axes.is_empty() {
            input.push(axes_name.clone());
            graph.initializer.push(TensorProto {
                name: axes_name,
                dims: vec![axes.len() as i64],
                data_type: INT64,
                int64_data: axes.to_vec(),
                ..TensorProto::default()
            });
        }
        let op_type = (*operator).into();
        graph.node.push(NodeProto { input, output: vec![output], op_type, ..NodeProto::default() });
    }
    model.encode_to_vec()
}

#[test]
fn predict_names_the_digit_at_any_size_and_in_colour() {
    let folder = Folder::new();
    let checkpoint = digits(&folder);
    let data = Dataset::open("digits", &OpenOptions::default()).expect("embedded");
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for i in 0..40 {
        // Pixels of the digits range from 0 to 16.
        let image = data.test.image(i).expect("an image");
        let grey = |&p: &u8| (f32::from(p) * 255.0 / 16.0).round() as u8;
        let pixels: Vec<u8> = image.iter().map(grey).collect();
        images.push(png(&folder, &format!("grey{i}.png"), [1, 8, 8], &pixels));
        // The same digit in the middle of a wider RGB image, in grey.
        let mut wide = vec![99; 8 * 12 * 3];
        for (row, pixels) in wide.chunks_exact_mut(36).zip(pixels.chunks_exact(8)) {
            for (colours, &value) in row[6..30].chunks_exact_mut(3).zip(pixels) {
                colours.fill(value);
            }
        }
        images.push(png(&folder, &format!("wide{i}.png"), [3, 8, 12], &wide));
        labels.push(data.test.labels()[i].to_string());
    }
    let mut args = vec!["predict", &checkpoint, "--json"];
    args.extend(images.iter().map(String::as_str));
    let found = parse(&succeed(&args).out);
    let found = found.as_array().expect("a list");
    assert_eq!(found.len(), images.len());
    let mut n_right = 0;
    for (at, (found, image)) in found.iter().zip(&images).enumerate() {
        assert_eq!(found["image"], image.as_str());
        let classes = found["classes"].as_array().expect("classes");
        assert_eq!(classes.len(), 5);
        let shares: Vec<f64> = classes.iter().filter_map(|c| c["probability"].as_f64()).collect();
        assert!(shares.is_sorted_by(|a, b| a >= b) && shares.iter().sum::<f64>() <= 1.0 + 1e-9);
        n_right += u64::from(classes[0]["name"] == labels[at / 2].as_str());
    }
    for pair in found.chunks_exact(2) {
        assert_eq!(pair[0]["classes"], pair[1]["classes"], "{pair:?}");
    }
    assert!(n_right >= 64, "{n_right} of 80");

    let onnx = folder.text("digits.onnx");
    succeed(&["export", &checkpoint, "--format", "onnx", "--out", &onnx]);
    let plain = parse(&succeed(&["predict", &onnx, &images[0], "--json"]).out);
    // If the network ends with a softmax, in any shape, `predict` applies no second one.
    let bytes = support::bytes(Path::new(&onnx));
    for (i, more) in [&[("Softmax", &[][..])][..], &[("Softmax", &[]), ("Unsqueeze", &[2, 3])]]
        .into_iter()
        .enumerate()
    {
        let file = folder.write(&format!("softmax{i}.onnx"), with_nodes(&bytes, more));
        let found = parse(&succeed(&["predict", &file, &images[0], "--json"]).out);
        for (found, plain) in classes(&found).iter().zip(classes(&plain)) {
            assert_eq!(found["class"], plain["class"]);
            let [found, plain] = [found, plain].map(|c| c["probability"].as_f64().expect("one"));
            assert!((found - plain).abs() < 1e-6, "{found} {plain}");
        }
    }
    let names =
        folder.write("names.txt", ('a'..='j').map(|c| format!("letter {c}\n")).collect::<String>());
    let said = succeed(&["predict", &onnx, &images[0], "--top", "2", "--classes", &names]).out;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, images[0].as_str()), "{said}");
    assert!(lines[1].contains(" %  letter "), "{said}");
}

#[test]
fn predict_reports_bad_images_and_flags() {
    let folder = Folder::new();
    let checkpoint = digits(&folder);
    let whole = png(&folder, "whole.png", [1, 8, 8], &[7; 64]);
    let bytes = support::bytes(Path::new(&whole));
    let cut = folder.write("cut.png", &bytes[..bytes.len() / 2]);
    let gif = folder.write("a.gif", "GIF89a");
    let empty = folder.write("empty.png", "");
    let few = folder.write("few.txt", "one\ntwo\n");
    for (more, code, parts) in [
        (&[&*cut][..], 1, &["cut.png", "the PNG cannot be decoded"][..]),
        (&[&*gif], 1, &["a.gif", "neither PNG nor JPEG"]),
        (&[&*empty], 1, &["empty.png", "is empty"]),
        (&["nowhere.png"], 1, &["cannot read image nowhere.png"]),
        (&[&*whole, "--classes", &few], 2, &["few.txt has 2 lines", "10 classes"]),
        (&[&*whole, "--classes", "nowhere.txt"], 1, &["cannot read classes nowhere.txt"]),
        (
            &[&*whole, "--mean", "0.1,0.2", "--std", "1,1"],
            2,
            &["has 2 channels", "pruned.safetensors have 1"],
        ),
        (&[&*whole, "--mean", "0.1", "--std", "0"], 2, &["above 0"]),
        (&[&*whole, "--mean", "0.1", "--std", "1e-40"], 1, &["gives NaN for", "whole.png"]),
    ] {
        refuse(&[&["predict", &checkpoint], more].concat(), code, parts);
    }
    // With one bad image, nothing is printed for the others.
    let said = run(&mut taper(&["predict", &checkpoint, &whole, &cut]));
    assert_eq!((said.code, &*said.out), (Some(1), ""));
    // A file without the normalization of its images.
    let raw = folder.text("raw.safetensors");
    let mut file = taper::train::checkpoint::RawFile::load(Path::new(&checkpoint)).expect("a file");
    file.metadata.insert("recipe".into(), "{}".into());
    file.save(Path::new(&raw)).expect("a file");
    refuse(&["predict", &raw, &whole], 2, &["raw.safetensors", "pass --mean and --std"]);
    let said = succeed(&["predict", &raw, &whole, "--mean", "0.3", "--std", "0.4"]);
    assert!(said.out.contains(" %  class "), "{}", said.out);
}

/// Two results of `eval` have the same loss, up to rounding.
#[track_caller]
fn expect_same_loss(ours: &Value, theirs: &Value) {
    let [a, b] = [ours, theirs].map(|of| of["test_loss"].as_f64().expect("a loss"));
    assert!((a - b).abs() <= 1e-5 * b, "{ours} {theirs}");
}

#[test]
fn eval_and_inspect_read_every_exported_format() {
    let folder = Folder::new();
    let checkpoint = digits(&folder);
    let eval = |file: &str| parse(&succeed(&["eval", file, "--json"]).out);
    let inspect = |file: &str| parse(&succeed(&["inspect", file, "--json"]).out);
    let (evaluated, inspected) = (eval(&checkpoint), inspect(&checkpoint));
    for format in ["dense", "bitmask", "csr", "npz", "onnx"] {
        for fold in [&[][..], &["--fold-bn"]] {
            let out = folder.text(&format!("{}.{format}", fold.len()));
            let export = ["export", &checkpoint, "--format", format, "--out", &out];
            succeed(&[&export[..], fold].concat());
            let found = eval(&out);
            for key in ["test_accuracy", "n_images", "data", "engine", "sparsity"] {
                assert_eq!(found[key], evaluated[key], "{out}: {key}");
            }
            expect_same_loss(&found, &evaluated);
            let found = inspect(&out);
            for key in ["model", "n_kept", "n_prunable", "macs_dense", "macs_sparse"] {
                assert_eq!(found[key], inspected[key], "{out}: {key}");
            }
        }
    }
    let csr = folder.text("0.csr");
    assert!(succeed(&["eval", &csr]).out.starts_with("digits-cnn on "));
    refuse(&["eval", &csr, "--engine", "candle"], 2, &["0.csr", "not a pruned checkpoint"]);
    refuse(&["eval", &csr, "--size", "1x8x8"], 2, &["--size", "0.csr"]);
}

#[test]
fn eval_finds_the_same_with_either_engine() {
    let folder = Folder::new();
    let checkpoint = digits(&folder);
    let eval =
        |more: &[&str]| parse(&succeed(&[&["eval", &checkpoint, "--json"], more].concat()).out);
    let candle = eval(&["--engine", "candle"]);
    // A last batch that is not full, batches of one image, and a batch larger than the test set.
    for batch in ["100", "1", "1000"] {
        let compiled = eval(&["--batch-size", batch]);
        assert_eq!(compiled["engine"], "compiled");
        assert_eq!(compiled["test_accuracy"], candle["test_accuracy"]);
        assert_eq!(compiled["n_images"], candle["n_images"]);
        expect_same_loss(&compiled, &candle);
    }
    assert_eq!(eval(&["--kernels", "rule"])["engine"], "candle");
    let both = ["--engine", "compiled", "--kernels", "rule"];
    refuse(&[&["eval", &checkpoint], &both[..]].concat(), 2, &["--kernels", "--engine candle"]);
}
