//! Taper's side of `cargo xtask bench infer`: makes networks, and runs compiled ones.
//!
//! Reads requests as lines of JSON, answers each by one. Its peers, `benches/peers/infer.py`, take the same but the first.

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::BufRead,
    path::{Path, PathBuf},
    time::Instant,
};
use taper::{
    core::rng::Rng,
    export::{self, Format, Network},
    infer::{Engine, Options, Workspace},
    kernels::Variant,
    nn::{Entry, ParamKind},
    onnx,
    zoo::Architecture,
};
use taper_report::host::peak_memory;

/// What can be asked.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    /// Writes a pruned network as ONNX, and so many random images for it.
    Network { model: String, sparsity: f64, path: PathBuf, images: PathBuf, batch: usize },
    /// Compiles an ONNX file for the first images of a file.
    Open { path: PathBuf, images: PathBuf, batch: usize, threads: usize, image: Vec<usize> },
    /// Times runs.
    Run { times: usize },
    /// Gives what the network computes for the first image.
    Results,
    /// Times each layer.
    Layers { rounds: usize },
    /// Says how much memory the process has had at most.
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
    let needed = "nothing is open";
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
            let options = Options { batch, threads, deterministic: false };
            let engine = Engine::compile(&graph, &options)?;
            let opening = begun.elapsed().as_secs_f64();
            ensure!(engine.input_dims() == image, "the network takes {:?}", engine.input_dims());
            let n_results = engine.output_dims().iter().product::<usize>();
            let results = vec![0.0; batch * n_results];
            let workspace = engine.workspace();
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
    /// Seconds of a run.
    fn time(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.engine.run_with(&mut self.workspace, &self.images, &mut self.results)?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Writes a network of a hundred classes with folded normalisations, and gives the shape of its images. Its weights are
/// initial ones, of which the smallest of all layers together are pruned.
fn write_network(model: &str, sparsity: f64, path: &Path) -> anyhow::Result<[usize; 3]> {
    let architecture = Architecture::find(model)?;
    let model = architecture.build(100, 0, &Device::Cpu)?;
    let mut magnitudes = Vec::new();
    for (_, weight) in model.params().prunable() {
        magnitudes.extend(weight.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::abs));
    }
    let n_pruned = (sparsity * magnitudes.len() as f64).round() as usize;
    let cut = match n_pruned {
        0 => 0.0,
        n => *magnitudes.select_nth_unstable_by(n - 1, f32::total_cmp).1,
    };
    for entry in model.params().entries() {
        if let Some(values) = drawn(entry, cut)? {
            entry.var.set(&Tensor::from_vec(values, entry.var.dims(), &Device::Cpu)?)?;
        }
    }
    let network = Network::of(&*model, architecture.image, BTreeMap::new())?.folded()?;
    let options = export::Options { overwrite: true, ..export::Options::default() };
    export::export(&network, Format::Onnx, path, &options)?;
    Ok(architecture.image)
}

/// Values of a parameter as in a trained network: pruned weights, biases and normalisations that are not neutral.
fn drawn(entry: &Entry, cut: f32) -> anyhow::Result<Option<Vec<f32>>> {
    let mut rng = Rng::for_name(1, &entry.name);
    let n = entry.var.elem_count();
    let mut draw =
        |value: fn(&mut Rng) -> f64| Some((0..n).map(|_| value(&mut rng) as f32).collect());
    Ok(match entry.kind {
        Some(ParamKind::ConvWeight | ParamKind::LinearWeight) => {
            let mut values = entry.var.flatten_all()?.to_vec1::<f32>()?;
            values.iter_mut().filter(|w| w.abs() <= cut).for_each(|w| *w = 0.0);
            Some(values)
        }
        Some(ParamKind::NormWeight) => draw(|rng| 0.5 + rng.uniform()),
        Some(ParamKind::Bias | ParamKind::NormBias) => draw(|rng| 0.2 * rng.normal()),
        None if entry.name.ends_with("running_mean") => draw(|rng| 0.2 * rng.normal()),
        None if entry.name.ends_with("running_var") => draw(|rng| 0.5 + rng.uniform()),
        None => None,
    })
}

/// Writes normal values as little-endian f32.
fn write_images(path: &Path, n: usize) -> anyhow::Result<()> {
    let mut rng = Rng::from_state(0);
    let bytes: Vec<u8> = (0..n).flat_map(|_| (rng.normal() as f32).to_le_bytes()).collect();
    Ok(std::fs::write(path, bytes)?)
}

fn read_images(path: &Path, n: usize) -> anyhow::Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    let (values, _) = bytes.as_chunks();
    ensure!(values.len() >= n, "{} holds {} values, not {n}", path.display(), values.len());
    Ok(values[..n].iter().map(|&value| f32::from_le_bytes(value)).collect())
}
