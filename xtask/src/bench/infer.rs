//! Compiled networks beside other engines, on the same ONNX files.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use taper_report::{format, stats::median};

use super::suite::{Compiled, CompiledRow, INFER};
use super::table::{Table, judge, judge_most};
use super::{Peer, Process, REST, build};

/// A turn runs a network as often as it does in so many seconds.
const TURN: f64 = 0.1;
/// Runs in a turn at most.
const MOST_RUNS: f64 = 200.0;
/// Results may differ by so large a share of the largest.
const TOLERANCE: f64 = 1e-5;

/// How the suite is measured.
pub(crate) struct InferSettings<'a> {
    pub(crate) root: &'a Path,
    pub(crate) python: &'a Path,
    /// Other than PyTorch.
    pub(crate) peers: Vec<Peer>,
    /// Turns of each side that are timed.
    pub(crate) rounds: u64,
    /// Whether layers are timed, too.
    pub(crate) profile: bool,
}

/// What one side needed.
struct Needs {
    name: &'static str,
    /// Of the median run.
    seconds: f64,
    /// From the file to the first run.
    opening: f64,
    /// The peak of a process that opens and runs the network alone, and what of it comes after its start; not every system
    /// says it.
    memory: Option<[f64; 2]>,
}

/// Measures the rows that are chosen. Gives a table of latency, and one of memory and compile time.
///
/// # Errors
/// When a side cannot be started, fails, or computes something else.
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
        "Memory is the peak of a process that opens and runs the network alone, and behind + what of it comes after the engine is loaded; a peer's process has Python in it."
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

/// All sides of a row; ours first.
struct MeasuredCell {
    needs: Vec<Needs>,
    /// Instruction set of our kernels.
    kernels: String,
    /// Our time by layer, if it is wanted.
    layers: Option<String>,
}

fn measure(settings: &InferSettings, program: &Path, row: &CompiledRow) -> Result<MeasuredCell> {
    let folder = tempfile::tempdir()?;
    let [path, images] = ["network.onnx", "images.bin"].map(|name| folder.path().join(name));
    // A process of its own, as its memory is not that of the engine.
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
        // The second of two runs is as long as those to come.
        let took = side.numbers(&json!({ "do": "run", "times": 2 }), "seconds")?;
        let last = took.last().copied().context("no time")?;
        runs.push((TURN / last).clamp(1.0, MOST_RUNS) as u64);
    }
    let mut times = vec![Vec::new(); sides.len()];
    // Two rounds bring caches and choices into their usual state.
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

/// Refuses to compare the times of networks that give different results.
fn expect_equal(peer: &str, ours: &[f64], theirs: &[f64]) -> Result<()> {
    let largest = theirs.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let distance = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs();
    // One that is not a number is not below.
    let is_equal = ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|pair| distance(pair) <= TOLERANCE * largest);
    ensure!(
        is_equal,
        "results differ from those of {peer} by more than {TOLERANCE} of the largest"
    );
    Ok(())
}

/// Microseconds by layer.
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
    fn other_results_are_refused() {
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
