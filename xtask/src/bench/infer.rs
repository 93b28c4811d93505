//! The suite `infer`: compiled networks compared with other engines on the same ONNX files.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use taper_report::{format, stats::median};

use super::suite::{Compiled, CompiledRow, INFER};
use super::table::{Table, judge, judge_most};
use super::{Peer, Process, REST, build};

/// Duration of a turn in seconds: the network runs repeatedly in it.
const TURN: f64 = 0.1;
/// Maximum number of runs in a turn.
const MOST_RUNS: f64 = 200.0;
/// Tolerance of results, relative to the largest one.
const TOLERANCE: f64 = 1e-5;

/// Settings of the measurement.
pub(crate) struct InferSettings<'a> {
    pub(crate) root: &'a Path,
    pub(crate) python: &'a Path,
    /// The peers; never PyTorch.
    pub(crate) peers: Vec<Peer>,
    /// Timed turns of each side.
    pub(crate) rounds: u64,
    /// Whether to time layers, too.
    pub(crate) profile: bool,
}

/// Time and memory of one side.
struct Needs {
    name: &'static str,
    /// Median time of a run.
    seconds: f64,
    /// Seconds from the file to the first run.
    opening: f64,
    /// Peak memory of a process that only opens and runs the network, and the part of it after loading the engine, in
    /// bytes. `None` where the system does not report it.
    memory: Option<[f64; 2]>,
}

/// Measures the chosen rows. Returns a table of latency, and one of memory and compile time.
///
/// # Errors
/// If a side cannot be started, fails, or computes different results.
pub(crate) fn tables(
    settings: &InferSettings,
    suite: &Compiled,
    is_chosen: impl Fn(&CompiledRow) -> bool,
) -> Result<[(&'static str, Table); 2]> {
    let program = build(settings.root, INFER)?;
    let peers = &settings.peers;
    let [mut latency, mut needs] = [Table::default(), Table::default()];
    latency.columns = ["what", "sparsity", "taper, ms"].map(String::from).to_vec();
    latency.columns.extend(peers.iter().map(|peer| format!("{}, ms", peer.name())));
    if !peers.is_empty() {
        let more = ["times onnxruntime", "times the fastest peer", "floor", "verdict"];
        latency.columns.extend(more.map(String::from));
    }
    needs.columns = ["what", "sparsity"].map(String::from).to_vec();
    let sides = || std::iter::once("taper").chain(peers.iter().map(|peer| peer.name()));
    needs.columns.extend(sides().map(|side| format!("memory of {side}")));
    needs.columns.extend(sides().map(|side| format!("{side} compiles in, ms")));
    needs.notes.push(
        "Memory: peak of a process that only opens and runs the network; after +, the part after loading the engine. The process of a peer includes Python."
            .into(),
    );
    let mut kernels = String::new();
    for row in suite.rows.iter().filter(|row| is_chosen(row)) {
        let name = format!("{INFER}: {}", row.name());
        let measured = measure(settings, &program, row).with_context(|| name.clone())?;
        kernels.clone_from(&measured.kernels);
        latency.notes.extend(measured.layers);
        let (ours, theirs) = measured.needs.split_first().context("no side")?;
        let of_peer = |peer: Peer| theirs.iter().find(|side| side.name == peer.name());
        let onnxruntime = of_peer(Peer::Onnxruntime);
        let start = vec![row.label.clone(), format::percent_short(row.sparsity)];
        let mut cells = start.clone();
        cells.extend(measured.needs.iter().map(|side| format!("{:.3}", side.seconds * 1e3)));
        if !theirs.is_empty() {
            let ratio = onnxruntime.map(|side| side.seconds / ours.seconds);
            let fastest = theirs.iter().map(|side| side.seconds).fold(f64::INFINITY, f64::min);
            let floor = row.floor.map(|floor| match kernels.as_str() {
                "avx512" => floor,
                _ => floor * suite.share_without_avx512,
            });
            let verdict =
                judge(&name, ratio.unwrap_or(f64::NAN), floor.filter(|_| ratio.is_some()));
            cells.push(ratio.map_or(format::NOTHING.into(), |ratio| format!("{ratio:.2}")));
            cells.push(format!("{:.2}", fastest / ours.seconds));
            cells.extend([floor.map_or(String::new(), format::rounded), verdict.word().into()]);
            latency.verdicts.push(verdict);
        }
        latency.rows.push(cells);
        let mut cells = start;
        let memory = |side: &Needs| match side.memory {
            Some([peak, above]) => format!("{} (+ {})", format::bytes(peak), format::bytes(above)),
            None => format::NOTHING.into(),
        };
        cells.extend(measured.needs.iter().map(memory));
        cells.extend(measured.needs.iter().map(|side| format!("{:.1}", side.opening * 1e3)));
        needs.rows.push(cells);
        needs.verdicts.push(judge_most(
            &format!("{name}: seconds to compile"),
            ours.opening,
            row.compile,
        ));
        if let Some([[_, ours], [_, theirs]]) =
            both(ours.memory, onnxruntime.and_then(|o| o.memory))
        {
            let what = format!("{name}: memory relative to onnxruntime's");
            needs.verdicts.push(judge_most(&what, ours / theirs, row.memory));
        }
    }
    latency.notes.push(format!("Kernels of taper: {kernels}."));
    Ok([(INFER, latency), ("infer: memory and compile time", needs)])
}

fn both<T>(a: Option<T>, b: Option<T>) -> Option<[T; 2]> {
    Some([a?, b?])
}

/// The measurements of a row; Taper is first.
struct MeasuredCell {
    needs: Vec<Needs>,
    /// Instruction set of Taper's kernels.
    kernels: String,
    /// Taper's time by layer, if requested.
    layers: Option<String>,
}

fn measure(settings: &InferSettings, program: &Path, row: &CompiledRow) -> Result<MeasuredCell> {
    let folder = tempfile::tempdir()?;
    let [path, images] = ["network.onnx", "images.bin"].map(|name| folder.path().join(name));
    // In a separate process: its memory must not count as memory of the engine.
    let made = Process::infer(program)?.ask(&json!({
        "do": "network", "model": row.model, "sparsity": row.sparsity, "path": path, "images": images, "batch": row.batch,
    }))?;
    let open = json!({
        "do": "open", "path": path, "images": images, "batch": row.batch, "threads": row.threads, "image": made["image"],
    });
    let start = || -> Result<Vec<Process>> {
        let peers = settings.peers.iter();
        let peers = peers.map(|&peer| Process::infer_peer(settings.root, settings.python, peer));
        std::iter::once(Process::infer(program)).chain(peers).collect()
    };
    let (mut needs, mut kernels, mut results) = (Vec::new(), String::new(), Vec::new());
    for mut side in start()? {
        let before = memory(&mut side)?;
        let opened = side.ask(&open)?;
        if let Some(name) = opened["kernels"].as_str() {
            name.clone_into(&mut kernels);
        }
        side.ask(&json!({ "do": "run", "times": 3 }))?;
        let peak = memory(&mut side)?;
        results.push(side.numbers(&json!({ "do": "results" }), "results")?);
        needs.push(Needs {
            name: side.name(),
            seconds: f64::NAN,
            opening: opened["seconds"].as_f64().context("no time")?,
            memory: both(before, peak).map(|[before, peak]| [peak, peak - before]),
        });
    }
    for (side, theirs) in needs.iter().zip(&results).skip(1) {
        expect_equal(side.name, &results[0], theirs)?;
    }
    let mut sides = start()?;
    let mut runs = Vec::new();
    for side in &mut sides {
        side.ask(&open)?;
        // The second run takes as long as later ones.
        let took = side.numbers(&json!({ "do": "run", "times": 2 }), "seconds")?;
        let last = took.last().copied().context("no time")?;
        runs.push((TURN / last).clamp(1.0, MOST_RUNS) as u64);
    }
    let mut times = vec![Vec::new(); sides.len()];
    // Two warm-up rounds, for caches and kernel choices.
    for round in 0..settings.rounds + 2 {
        for ((side, times), n) in sides.iter_mut().zip(&mut times).zip(&runs) {
            std::thread::sleep(REST);
            let took = side.numbers(&json!({ "do": "run", "times": n }), "seconds")?;
            if round >= 2 {
                times.extend(took);
            }
        }
    }
    for (needs, times) in needs.iter_mut().zip(times) {
        needs.seconds = median(times);
    }
    let layers = match (settings.profile, sides.first_mut()) {
        (true, Some(ours)) => {
            Some(layers(&row.name(), &ours.ask(&json!({ "do": "layers", "rounds": 9 }))?))
        }
        _ => None,
    };
    Ok(MeasuredCell { needs, kernels, layers })
}

fn memory(side: &mut Process) -> Result<Option<f64>> {
    Ok(side.ask(&json!({ "do": "memory" }))?["bytes"].as_f64())
}

/// Fails if the results differ: times of different computations must not be compared.
fn expect_equal(peer: &str, ours: &[f64], theirs: &[f64]) -> Result<()> {
    let largest = theirs.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let distance = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs();
    // `<=` is false for NaN.
    let is_equal = ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|pair| distance(pair) <= TOLERANCE * largest);
    ensure!(
        is_equal,
        "results differ from those of {peer} by more than {TOLERANCE} of the largest"
    );
    Ok(())
}

/// A line with the microseconds of each layer.
fn layers(of: &str, found: &Value) -> String {
    let layers = found["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<String> = layers
        .iter()
        .filter_map(|layer| {
            let [name, kernel] = [&layer["name"], &layer["kernel"]].map(Value::as_str);
            Some(format!("{} ({}) {:.1}", name?, kernel?, layer["micros"].as_f64()?))
        })
        .collect();
    format!("Microseconds by layer, {of}: {}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_results_are_rejected() {
        assert!(expect_equal("x", &[1.0, -2.0], &[1.00001, -2.0]).is_ok());
        for ours in [&[1.00003, -2.0][..], &[1.0], &[f64::NAN, -2.0]] {
            assert!(expect_equal("x", ours, &[1.0, -2.0]).is_err(), "{ours:?}");
        }
        assert!(expect_equal("x", &[0.0], &[0.0]).is_ok());
    }

    #[test]
    fn a_layer_without_a_time_is_left_out() {
        let found = json!({ "layers": [
            { "name": "conv1", "kernel": "sparse", "micros": 12.34 },
            { "name": "flatten", "kernel": "reshape", "micros": null },
        ] });
        assert_eq!(layers("a", &found), "Microseconds by layer, a: conv1 (sparse) 12.3.");
    }
}
