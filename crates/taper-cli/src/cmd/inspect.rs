//! `taper inspect`.

use super::Pruned;
use crate::{args::Inspect, term};
use serde_json::{Value, json};
use taper::train::{Analysis, analyse};

/// Lists what is kept in each layer, and what that is worth.
pub fn run(args: &Inspect) -> anyhow::Result<()> {
    let pruned = Pruned::load(&args.checkpoint, &candle_core::Device::Cpu)?;
    let analysis = analyse(&*pruned.model, pruned.architecture.image)?;
    let n_params = pruned.model.params().n_params();
    if args.json {
        let mut report = totals(&analysis);
        report["model"] = json!(pruned.architecture.name);
        report["classes"] = json!(pruned.checkpoint.classes);
        report["n_params"] = json!(n_params);
        report["layers"] = layers(&analysis);
        term::print(format_args!("{}", serde_json::to_string_pretty(&report)?))?;
        return Ok(());
    }
    let width = analysis.layers.iter().map(|l| l.info.name.len()).max().unwrap_or(5).max(5);
    term::print(format_args!(
        "{:<width$}  {:<17} {:>9} {:>9} {:>9} {:>9} {:>12} {:>12}",
        "layer", "shape", "weights", "kept", "sparsity", "effective", "MACs dense", "MACs sparse"
    ))?;
    let row = |name: &str, shape: &str, of: [u64; 5]| -> anyhow::Result<()> {
        let [n, kept, effective, dense, sparse] = of;
        let percent = |kept: u64| format!("{:.2} %", 100.0 * (1.0 - kept as f64 / n.max(1) as f64));
        term::print(format_args!(
            "{name:<width$}  {shape:<17} {n:>9} {kept:>9} {:>9} {:>9} {dense:>12} {sparse:>12}",
            percent(kept),
            percent(effective)
        ))
    };
    for l in &analysis.layers {
        let shape: Vec<String> = l.info.shape.iter().map(ToString::to_string).collect();
        row(
            &l.info.name,
            &shape.join("x"),
            [l.info.n_weights(), l.n_kept, l.n_effective, l.macs_dense, l.macs_sparse],
        )?;
    }
    let total = |of: fn(&taper::train::LayerAnalysis) -> u64| analysis.total(of);
    row(
        "total",
        "",
        [
            total(|l| l.info.n_weights()),
            total(|l| l.n_kept),
            total(|l| l.n_effective),
            total(|l| l.macs_dense),
            total(|l| l.macs_sparse),
        ],
    )?;
    term::print(format_args!(
        "\n{} with {} classes: {n_params} parameters in all. Effective sparsity counts weights cut off from input or output as zero.",
        pruned.architecture.name, pruned.checkpoint.classes
    ))?;
    Ok(())
}

/// Counts over all layers, as in `result.json`.
pub fn totals(analysis: &Analysis) -> Value {
    json!({
        "sparsity": analysis.sparsity().get(),
        "effective_sparsity": analysis.effective_sparsity().get(),
        "n_prunable": analysis.total(|l| l.info.n_weights()),
        "n_kept": analysis.total(|l| l.n_kept),
        "macs_dense": analysis.total(|l| l.macs_dense),
        "macs_sparse": analysis.total(|l| l.macs_sparse),
    })
}

/// Counts of each layer, as in `result.json`.
pub fn layers(analysis: &Analysis) -> Value {
    let layers = analysis.layers.iter().map(|l| {
        let n = l.info.n_weights();
        json!({
            "name": l.info.name,
            "kind": l.info.kind.name(),
            "shape": l.info.shape,
            "n_weights": n,
            "n_kept": l.n_kept,
            "n_effective": l.n_effective,
            "sparsity": taper::core::Sparsity::of(l.n_kept, n).get(),
            "macs_dense": l.macs_dense,
            "macs_sparse": l.macs_sparse,
        })
    });
    Value::Array(layers.collect())
}
