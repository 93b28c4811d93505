//! Compares compiled networks of the zoo with onnxruntime: several sparsities, dead layers, even and odd image sizes.
//!
//! Without a Python that has onnxruntime, the test is skipped with a message.

use crate::support::{Folder, bytes, python, repository};
use candle_core::{Device, Tensor};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};
use taper::{
    core::rng::Rng,
    export::{Format, Network, Options, export},
    infer::{self, Engine},
    nn::{Model, ParamKind},
    onnx,
    zoo::Architecture,
};

/// Which weights are pruned.
#[derive(Clone, Copy, Debug)]
enum Pruned {
    /// This fraction of each layer.
    Share(f64),
    /// All weights of every fourth layer on average, and 90 % of the weights of the others.
    Layers,
}

const SIZES_OF_CIFAR: &[[usize; 2]] = &[[32, 32], [33, 31], [17, 9]];
const SIZES_OF_IMAGENET: &[[usize; 2]] = &[[64, 64], [65, 47]];

/// Networks, with the rows and columns of their input images.
const NETWORKS: [(&str, &[[usize; 2]]); 7] = [
    ("digits-cnn", &[[8, 8]]),
    ("resnet20", SIZES_OF_CIFAR),
    ("mobilenet-v1", SIZES_OF_CIFAR),
    ("densenet40-24", SIZES_OF_CIFAR),
    ("resnet18", SIZES_OF_IMAGENET),
    ("resnet50", SIZES_OF_IMAGENET),
    ("mobilenet-v1-imagenet", SIZES_OF_IMAGENET),
];

const CASES: [Pruned; 7] = [
    Pruned::Share(0.0),
    Pruned::Share(0.5),
    Pruned::Share(0.9),
    Pruned::Share(0.98),
    Pruned::Share(0.995),
    Pruned::Share(1.0),
    Pruned::Layers,
];

/// Images of a run: less than a batch, not divisible by the number of threads, and a whole batch.
const BATCHES: [usize; 3] = [1, 3, 7];

#[test]
fn compiled_networks_compute_what_onnxruntime_does() {
    let Some(python) = python("numpy, onnxruntime") else { return };
    let folder = Folder::new();
    let mut runtime = Runtime::new(&python);
    for (name, sizes) in NETWORKS {
        let architecture = Architecture::find(name).expect("an architecture");
        let model = architecture.build(10, 1, &Device::Cpu).expect("a network");
        for (i, pruned) in CASES.into_iter().enumerate() {
            draw(&*model, pruned);
            // All cases run with the first image size, some with the others.
            for (size, [rows, columns]) in sizes.iter().enumerate() {
                if size == 0 || (i + size).is_multiple_of(2) {
                    let image = [architecture.image[0], *rows, *columns];
                    let what = format!("{name}, {image:?}, {pruned:?}");
                    compare(&*model, image, &mut runtime, &folder, &what);
                }
            }
        }
    }
}

fn compare(
    model: &dyn Model,
    image: [usize; 3],
    runtime: &mut Runtime,
    folder: &Folder,
    what: &str,
) {
    let [network, images, results] = ["network.onnx", "images", "results"].map(|n| folder.path(n));
    let exported = Network::of(model, image, BTreeMap::new()).expect(what);
    let options = Options { overwrite: true, ..Options::default() };
    export(&exported, Format::Onnx, &network, &options).expect("a file");
    let n_images = BATCHES[BATCHES.len() - 1];
    let each: usize = image.iter().product();
    let mut rng = Rng::for_key([2]);
    let pixels: Vec<f32> = (0..n_images * each).map(|_| rng.normal() as f32).collect();
    let content: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    std::fs::write(&images, content).expect("a file");
    let shape = [n_images, image[0], image[1], image[2]];
    runtime.answer(&json!({
        "network": network, "images": images, "shape": shape, "results": results,
    }));
    let want: Vec<f32> =
        bytes(&results).as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let largest = want.iter().fold(0f32, |most, v| most.max(v.abs()));
    assert!(largest.is_finite() && largest > 0.0, "{what}: {largest}");

    let graph = onnx::open(&network).unwrap_or_else(|e| panic!("{what}: {e}"));
    let options =
        infer::Options { batch: n_images, threads: 3, deterministic: true, variant: None };
    let engine = Engine::compile(&graph, &options).unwrap_or_else(|e| panic!("{what}: {e}"));
    let n_classes = want.len() / n_images;
    for batch in BATCHES {
        let found = engine.run(&pixels[..batch * each]).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(found.len(), batch * n_classes, "{what}");
        let differences = found.iter().zip(&want).map(|(a, b)| (a - b).abs());
        // A NaN counts as the largest difference.
        let most = differences.fold(0f32, |most, d| if d <= most { most } else { d });
        assert!(most <= 1e-5 * largest, "{what}, batch {batch}: {most:e} of {largest}");
    }
}

/// Sets random weights, some of them pruned, and random batch-norm parameters and statistics.
fn draw(model: &dyn Model, pruned: Pruned) {
    for entry in model.params().entries() {
        let mut rng = Rng::for_name(1, &entry.name);
        let (n, dims) = (entry.var.elem_count(), entry.var.dims());
        let mut draw = |value: &dyn Fn(&mut Rng) -> f64| {
            Some((0..n).map(|_| value(&mut rng) as f32).collect())
        };
        let drawn: Option<Vec<f32>> = match entry.kind {
            Some(ParamKind::ConvWeight | ParamKind::LinearWeight) => {
                let fan_in = (n / dims[0]) as f64;
                let is_dead = Rng::for_name(2, &entry.name).below(4) == 0;
                let share = match pruned {
                    Pruned::Share(1.0) => 0.0,
                    Pruned::Layers if is_dead => 0.0,
                    Pruned::Layers => 0.1,
                    // About one weight of each channel stays: otherwise the output would not depend on the image.
                    Pruned::Share(share) => (1.0 - share).max(1.0 / fan_in),
                };
                let scale = libm::sqrt(2.0 / (fan_in * share).max(1.0));
                draw(&|rng| if rng.uniform() < share { scale * rng.normal() } else { 0.0 })
            }
            Some(ParamKind::NormWeight) => draw(&|rng| 0.5 + rng.uniform()),
            Some(ParamKind::Bias | ParamKind::NormBias) => draw(&|rng| 0.2 * rng.normal()),
            None if entry.name.ends_with("running_mean") => draw(&|rng| 0.2 * rng.normal()),
            None if entry.name.ends_with("running_var") => draw(&|rng| 0.5 + rng.uniform()),
            None => None,
        };
        if let Some(values) = drawn {
            let values = Tensor::from_vec(values, dims, &Device::Cpu).expect("a tensor");
            entry.var.set(&values).expect("the same shape");
        }
    }
}

/// A Python process that runs one network after another.
struct Runtime {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Runtime {
    fn new(python: &Path) -> Self {
        let mut command = Command::new(python);
        command.arg(repository().join("tests/compiled.py"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("Python");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, answers }
    }

    fn answer(&mut self, request: &serde_json::Value) {
        let requests = self.process.stdin.as_mut().expect("a pipe");
        writeln!(requests, "{request}").expect("Python reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("Python answers");
        assert_eq!(line, "done\n", "{request}");
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // It ends when its standard input is closed.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
