//! The command `taper bench`: latency, throughput and memory of a compiled network.

use crate::{args::Bench, error::printable, machine, network, term};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use taper::{
    core::rng::Rng,
    infer::{Engine, LayerPlan, Options, Plan},
    kernels::Variant,
};
use taper_host::peak_memory;
use taper_report::{format, stats::quantile};

/// Number of warm-up runs.
const WARM_UP: usize = 3;
/// Duration of the timed runs, unless their number is given.
const TIMED: Duration = Duration::from_secs(2);
/// Minimum number of timed runs: with fewer, the 95th percentile would be the slowest run.
const LEAST_ROUNDS: usize = 21;

/// Compiles a network and measures it on random images.
pub fn run(args: &Bench) -> anyhow::Result<()> {
    let kernels = machine::variant()?;
    let graph = network::graph(&args.file, &args.left_open)?;
    let options = Options {
        batch: args.batch as usize,
        threads: args.threads as usize,
        deterministic: args.deterministic,
        variant: Some(kernels),
    };
    let begun = Instant::now();
    let engine = network::compile(&graph, &options, &args.file)?;
    let compiling = begun.elapsed();
    let mut rng = Rng::from_state(0);
    let n_values = options.batch * engine.input_dims().iter().product::<usize>();
    let images: Vec<f32> = (0..n_values).map(|_| rng.normal() as f32).collect();
    let times = time(&engine, &images, args.rounds.map(|n| n as usize))?;
    let plan = match args.layers {
        true => engine.profile(&images, times.len().min(LEAST_ROUNDS))?,
        false => engine.plan(),
    };
    let threads = engine.threads();
    let found = Timed { args, threads, kernels, compiling, times, plan };
    if args.json {
        return term::print(serde_json::to_string_pretty(&found.json())?);
    }
    term::print(found.text())?;
    match args.layers {
        true => term::print(format_args!("\n{}", layers(&found.plan.layers))),
        false => Ok(()),
    }
}

/// Times runs. Returns the seconds of each.
fn time(engine: &Engine, images: &[f32], rounds: Option<usize>) -> anyhow::Result<Vec<f64>> {
    let mut workspace = engine.workspace()?;
    let n_results = engine.batch() * engine.output_dims().iter().product::<usize>();
    let mut results = vec![0.0; n_results];
    for _ in 0..WARM_UP {
        engine.run_with(&mut workspace, images, &mut results)?;
    }
    let mut times = Vec::new();
    let begun = Instant::now();
    let is_enough = |n: usize| match rounds {
        Some(rounds) => n >= rounds,
        None => n >= LEAST_ROUNDS && begun.elapsed() >= TIMED,
    };
    while !is_enough(times.len()) {
        let begun = Instant::now();
        engine.run_with(&mut workspace, images, &mut results)?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// The measurements.
struct Timed<'a> {
    args: &'a Bench,
    /// Threads that a run uses.
    threads: usize,
    kernels: Variant,
    compiling: Duration,
    times: Vec<f64>,
    plan: Plan,
}

impl Timed<'_> {
    /// The quantile `q` of the time of a run, in milliseconds.
    fn millis(&self, q: f64) -> f64 {
        1e3 * quantile(self.times.clone(), q)
    }

    fn images_per_second(&self) -> f64 {
        (self.args.batch as usize * self.times.len()) as f64 / self.times.iter().sum::<f64>()
    }

    fn json(&self) -> Value {
        let plan = &self.plan;
        let mut found = json!({
            "file": self.args.file.display().to_string(),
            "batch": self.args.batch,
            "threads": self.threads,
            "kernels": self.kernels.name(),
            "rounds": self.times.len(),
            "p50_ms": self.millis(0.5),
            "p95_ms": self.millis(0.95),
            "p99_ms": self.millis(0.99),
            "images_per_second": self.images_per_second(),
            "compile_ms": 1e3 * self.compiling.as_secs_f64(),
            "weight_bytes": plan.weight_bytes,
            "workspace_bytes": plan.workspace_bytes,
            "peak_bytes": peak_memory(),
        });
        if self.args.layers {
            let total = total_micros(&plan.layers);
            let layer = |layer: &LayerPlan| {
                json!({
                    "name": layer.name,
                    "kernel": layer.kernel,
                    "shape": layer.dims,
                    "density": layer.density,
                    "nonzeros": layer.nonzeros,
                    "bytes": layer.bytes,
                    "micros": layer.micros,
                    "share": layer.micros.map(|micros| micros / total),
                })
            };
            found["layers"] = plan.layers.iter().map(layer).collect();
        }
        found
    }

    fn text(&self) -> String {
        let Self { args, threads, kernels, plan, .. } = self;
        let bytes = |n: usize| format::bytes(n as f64);
        let peak = peak_memory().map_or(format::NOTHING.into(), |n| format::bytes(n as f64));
        [
            format!(
                "{}: batch {}, {threads} {}, {} kernels",
                args.file.display(),
                args.batch,
                if *threads == 1 { "thread" } else { "threads" },
                kernels.name()
            ),
            format!(
                "latency     p50 {:.3} ms, p95 {:.3} ms, p99 {:.3} ms of {} runs",
                self.millis(0.5),
                self.millis(0.95),
                self.millis(0.99),
                self.times.len()
            ),
            format!("throughput  {:.1} images/s", self.images_per_second()),
            format!(
                "memory      {} of weights and tables, {} of workspace, peak of the process {peak}",
                bytes(plan.weight_bytes),
                bytes(plan.workspace_bytes)
            ),
            format!("compiled in {:.1} ms", 1e3 * self.compiling.as_secs_f64()),
        ]
        .join("\n")
    }
}

fn total_micros(layers: &[LayerPlan]) -> f64 {
    layers.iter().filter_map(|layer| layer.micros).sum()
}

/// A table with one row for each layer.
fn layers(layers: &[LayerPlan]) -> String {
    let shown = |layer: &LayerPlan| LayerPlan { name: printable(&layer.name), ..layer.clone() };
    let layers: Vec<LayerPlan> = layers.iter().map(shown).collect();
    let width = |of: fn(&LayerPlan) -> &str, least: usize| {
        layers.iter().map(|layer| of(layer).chars().count()).fold(least, usize::max)
    };
    let (name, kernel) = (width(|l| &l.name, 5), width(|l| &l.kernel, 6));
    let mut lines = vec![format!(
        "{:<name$}  {:<kernel$}  {:<13} {:>9} {:>10} {:>10} {:>10} {:>8}",
        "layer", "kernel", "shape", "density", "non-zeros", "bytes", "µs", "share"
    )];
    let total = total_micros(&layers);
    for layer in &layers {
        let dims: Vec<String> = layer.dims.iter().map(ToString::to_string).collect();
        let [micros, share] = match layer.micros {
            Some(micros) => [format!("{micros:.1}"), format::percent(micros / total, 1)],
            None => [format::NOTHING, format::NOTHING].map(String::from),
        };
        lines.push(format!(
            "{:<name$}  {:<kernel$}  {:<13} {:>9} {:>10} {:>10} {micros:>10} {share:>8}",
            layer.name,
            layer.kernel,
            dims.join("x"),
            format::percent(layer.density, 2),
            layer.nonzeros,
            layer.bytes
        ));
    }
    lines.join("\n")
}
