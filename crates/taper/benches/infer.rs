//! Taper's side of `cargo xtask bench infer`: writes networks, and times compiled ones.
//!
//! Reads one request per line as JSON, and writes one line of JSON for each. `benches/peers/infer.py`, which runs the
//! other engines, reads the same requests except `network`.

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    io::BufRead,
    path::{Path, PathBuf},
    time::Instant,
};
use taper::{
    core::{LayerInfo, rng::Rng},
    export::{self, Format, Network},
    infer::{Engine, Options, Workspace},
    kernels::Variant,
    nn::{Entry, ParamKind},
    onnx,
    zoo::Architecture,
};
use taper_host::peak_memory;

/// A request.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    /// Writes a pruned network as ONNX, and a batch of random images for it.
    Network { model: String, sparsity: f64, path: PathBuf, images: PathBuf, batch: usize },
    /// Compiles an ONNX file, and reads a batch of images.
    Open { path: PathBuf, images: PathBuf, batch: usize, threads: usize, image: Vec<usize> },
    /// Times this many runs.
    Run { times: usize },
    /// Returns the network's outputs for the first image.
    Results,
    /// Times each layer in this many rounds.
    Layers { rounds: usize },
    /// Returns the peak memory of the process.
    Memory,
}

fn main() -> anyhow::Result<()> {
    let mut session = None;
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&mut session, serde_json::from_str(&line?)?)?;
        println!("{answer}");
    }
    Ok(())
}

fn answer(session: &mut Option<Session>, request: Request) -> anyhow::Result<Value> {
    let needed = "no network is open; send an `open` request first";
    Ok(match request {
        Request::Network { model, sparsity, path, images, batch } => {
            let image = write_network(&model, sparsity, &path)?;
            write_images(&images, batch * image.iter().product::<usize>())?;
            json!({ "image": image })
        }
        Request::Open { path, images, batch, threads, image } => {
            let images = read_images(&images, batch * image.iter().product::<usize>())?;
            let begun = Instant::now();
            let graph = onnx::open(&path)?;
            let options =
                Options { batch, threads, variant: Some(Variant::current()), ..Options::default() };
            let engine = Engine::compile(&graph, &options)?;
            let opening = begun.elapsed().as_secs_f64();
            ensure!(
                engine.input_dims() == image,
                "the images have shape {image:?}, but the network needs {:?}",
                engine.input_dims()
            );
            let n_results = engine.output_dims().iter().product::<usize>();
            let results = vec![0.0; batch * n_results];
            let workspace = engine.workspace()?;
            *session = Some(Session { engine, workspace, images, results });
            json!({ "seconds": opening, "kernels": Variant::current().name() })
        }
        Request::Run { times } => {
            let session = session.as_mut().context(needed)?;
            let times = (0..times).map(|_| session.time()).collect::<anyhow::Result<Vec<f64>>>()?;
            json!({ "seconds": times })
        }
        Request::Results => {
            let session = session.as_mut().context(needed)?;
            session.time()?;
            let n_results = session.engine.output_dims().iter().product();
            json!({ "results": session.results[..n_results] })
        }
        Request::Layers { rounds } => {
            let session = session.as_ref().context(needed)?;
            let plan = session.engine.profile(&session.images, rounds)?;
            let layer = |layer: &taper::infer::LayerPlan| {
                json!({
                    "name": layer.name,
                    "kernel": layer.kernel,
                    "shape": layer.dims,
                    "density": layer.density,
                    "micros": layer.micros,
                })
            };
            json!({ "layers": plan.layers.iter().map(layer).collect::<Vec<_>>() })
        }
        Request::Memory => json!({ "bytes": peak_memory() }),
    })
}

struct Session {
    engine: Engine,
    workspace: Workspace,
    images: Vec<f32>,
    results: Vec<f32>,
}

impl Session {
    /// Runs the network once; returns the seconds.
    fn time(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.engine.run_with(&mut self.workspace, &self.images, &mut self.results)?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Writes a network with 100 classes and folded batch norm, and returns the shape of its images. Each layer keeps its
/// largest initial weights, and as many of them as in a trained network.
fn write_network(model: &str, sparsity: f64, path: &Path) -> anyhow::Result<[usize; 3]> {
    let architecture = Architecture::find(model)?;
    let shares = shares(model, sparsity)?;
    let model = architecture.build(100, 0, &Device::Cpu)?;
    let layers: Vec<LayerInfo> = model.params().layers();
    let shares = spread(&layers, &shares, 1.0 - sparsity);
    let shares = layers.iter().map(|layer| layer.name.as_str()).zip(shares).collect();
    for entry in model.params().entries() {
        if let Some(values) = drawn(entry, &shares)? {
            entry.var.set(&Tensor::from_vec(values, entry.var.dims(), &Device::Cpu)?)?;
        }
    }
    let network = Network::of(&*model, architecture.image, BTreeMap::new())?.folded()?;
    let options = export::Options { overwrite: true, ..export::Options::default() };
    export::export(&network, Format::Onnx, path, &options)?;
    Ok(architecture.image)
}

/// The fraction of kept weights of each layer in a trained network, from `kept.json`: the entry of this network with
/// the nearest sparsity. Empty if the file has no entry for the network.
fn shares(model: &str, sparsity: f64) -> anyhow::Result<BTreeMap<String, f64>> {
    type Kept = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;
    let mut kept: Kept = serde_json::from_str(include_str!("../../../benches/suites/kept.json"))?;
    let of_model = kept.remove(model).unwrap_or_default().into_iter();
    let distance = |text: &str| text.parse().map_or(f64::INFINITY, |s: f64| (s - sparsity).abs());
    let nearest = of_model.min_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)));
    Ok(nearest.map(|(_, shares)| shares).unwrap_or_default())
}

/// The fraction of kept weights of each layer, at most 1, for which `density` of all weights are kept. The fractions
/// are proportional to `shares`. A layer without an entry uses the sum of its dimensions over their product, as in ERK.
fn spread(layers: &[LayerInfo], shares: &BTreeMap<String, f64>, density: f64) -> Vec<f64> {
    let erk = |layer: &LayerInfo| {
        layer.shape.iter().sum::<usize>() as f64 / layer.shape.iter().product::<usize>() as f64
    };
    // Only the proportions of these numbers matter.
    let bases = layers.iter().map(|layer| match shares.get(&layer.name) {
        Some(&share) if share > 0.0 => share,
        _ => erk(layer),
    });
    let bases: Vec<f64> = bases.collect();
    let of = |factor: f64| bases.iter().map(move |base| (factor * base).min(1.0));
    let n_weights = |layer: &LayerInfo| layer.n_weights() as f64;
    let n_wanted = density * layers.iter().map(n_weights).sum::<f64>();
    let (mut low, mut high) = (0.0, 1e9);
    for _ in 0..200 {
        let middle: f64 = (low + high) / 2.0;
        let n: f64 = of(middle).zip(layers).map(|(share, layer)| share * n_weights(layer)).sum();
        if n < n_wanted { low = middle } else { high = middle }
    }
    of(high).collect()
}

/// Values of a parameter, similar to those of a trained network: pruned weights, and random biases and batch norm
/// parameters.
fn drawn(entry: &Entry, shares: &HashMap<&str, f64>) -> anyhow::Result<Option<Vec<f32>>> {
    let mut rng = Rng::for_name(1, &entry.name);
    let n = entry.var.elem_count();
    let mut draw =
        |value: fn(&mut Rng) -> f64| Some((0..n).map(|_| value(&mut rng) as f32).collect());
    Ok(match entry.kind {
        Some(ParamKind::ConvWeight | ParamKind::LinearWeight) => {
            let mut values = entry.var.flatten_all()?.to_vec1::<f32>()?;
            let share = shares.get(entry.name.as_str());
            let share = share.with_context(|| format!("layer {} has no density", entry.name))?;
            let n_pruned = ((1.0 - share) * n as f64).round() as usize;
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
            order.iter().take(n_pruned).for_each(|&at| values[at] = 0.0);
            Some(values)
        }
        Some(ParamKind::NormWeight) => draw(|rng| 0.5 + rng.uniform()),
        Some(ParamKind::Bias | ParamKind::NormBias) => draw(|rng| 0.2 * rng.normal()),
        None if entry.name.ends_with("running_mean") => draw(|rng| 0.2 * rng.normal()),
        None if entry.name.ends_with("running_var") => draw(|rng| 0.5 + rng.uniform()),
        None => None,
    })
}

/// Writes `n` normally distributed values as little-endian f32.
fn write_images(path: &Path, n: usize) -> anyhow::Result<()> {
    let mut rng = Rng::from_state(0);
    let bytes: Vec<u8> = (0..n).flat_map(|_| (rng.normal() as f32).to_le_bytes()).collect();
    Ok(std::fs::write(path, bytes)?)
}

fn read_images(path: &Path, n: usize) -> anyhow::Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    let (values, _) = bytes.as_chunks();
    ensure!(values.len() >= n, "{} has {} values, needs {n}", path.display(), values.len());
    Ok(values[..n].iter().map(|&value| f32::from_le_bytes(value)).collect())
}
