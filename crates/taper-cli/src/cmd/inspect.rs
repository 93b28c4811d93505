//! `taper inspect`.

use super::Pruned;
use crate::{args::Inspect, error::printable, network, term};
use serde::Serialize;
use taper::{
    core::{LayerKind, Sparsity},
    export::{Network, is_onnx},
    record::result::{LayerResult, Totals},
    train::{Analysis, analyse},
};
use taper_report::format;

/// Lists what is kept in each layer, and what that is worth.
pub fn run(args: &Inspect) -> anyhow::Result<()> {
    // What cannot be read is no checkpoint either, and the message says what one is.
    match is_onnx(&args.checkpoint).unwrap_or(false) {
        true => of_onnx(args),
        false => of_checkpoint(args),
    }
}

/// Lists the layers of a pruned checkpoint.
fn of_checkpoint(args: &Inspect) -> anyhow::Result<()> {
    network::refuse_given(&args.checkpoint, &args.left_open)?;
    let pruned = Pruned::load(&args.checkpoint, &candle_core::Device::Cpu)?;
    let analysis = analyse(&*pruned.model, pruned.architecture.image)?;
    let n_params = pruned.model.params().n_params();
    if args.json {
        let report = Report {
            model: &pruned.architecture.name,
            classes: Some(pruned.checkpoint.classes),
            n_params,
            totals: totals(&analysis),
            layers: layers(&analysis),
        };
        return report.print();
    }
    let rows = analysis.layers.iter().map(|l| Row {
        name: l.info.name.clone(),
        shape: l.info.shape.clone(),
        n: l.info.n_weights(),
        n_kept: l.n_kept,
        n_effective: Some(l.n_effective),
        macs: [l.macs_dense, l.macs_sparse],
    });
    term::print(table(&rows.collect::<Vec<Row>>()))?;
    term::print(format_args!(
        "\n{} with {} classes: {n_params} parameters in all. Effective sparsity counts weights cut off from input or output as zero.",
        pruned.architecture.name, pruned.checkpoint.classes
    ))
}

/// Lists the layers of an ONNX file. Paths are those of architectures, so no effective sparsity is known.
fn of_onnx(args: &Inspect) -> anyhow::Result<()> {
    let network = Network::from(network::graph(&args.checkpoint, &args.left_open)?);
    let graph = network.graph();
    let (title, n_params) = (network::title(graph, &args.checkpoint), network.n_params()?);
    let layers = graph.layers()?;
    let rows = layers.iter().map(|l| Row {
        name: l.name.into(),
        shape: l.weight.dims().to_vec(),
        n: l.n_weights(),
        n_kept: l.n_kept(),
        n_effective: None,
        macs: [l.macs_dense(), l.macs_sparse()],
    });
    let rows: Vec<Row> = rows.collect();
    if args.json {
        let layer = |row: &Row| {
            // A weight of four dimensions is that of a convolution.
            let kind = if row.shape.len() > 2 { LayerKind::Conv } else { LayerKind::Linear };
            LayerResult {
                name: row.name.clone(),
                kind: kind.name().into(),
                shape: row.shape.clone(),
                n_weights: row.n,
                n_kept: row.n_kept,
                n_effective: None,
                sparsity: Sparsity::of(row.n_kept, row.n).get(),
                macs_dense: row.macs[0],
                macs_sparse: row.macs[1],
            }
        };
        let total = Row::total(&rows);
        let totals = Totals {
            sparsity: network.sparsity()?,
            effective_sparsity: None,
            n_prunable: total.n,
            n_kept: total.n_kept,
            macs_dense: total.macs[0],
            macs_sparse: total.macs[1],
        };
        let layers = rows.iter().map(layer).collect();
        return Report { model: &title, classes: None, n_params, totals, layers }.print();
    }
    term::print(table(&rows))?;
    term::print(format_args!("\n{title}: {n_params} parameters in all."))
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<usize>,
    n_params: u64,
    #[serde(flatten)]
    totals: Totals,
    layers: Vec<LayerResult>,
}

impl Report<'_> {
    fn print(&self) -> anyhow::Result<()> {
        term::print(serde_json::to_string_pretty(self)?)
    }
}

/// A layer, or all of them.
struct Row {
    name: String,
    shape: Vec<usize>,
    n: u64,
    n_kept: u64,
    /// Kept weights on a path from the input to the output, where that is known.
    n_effective: Option<u64>,
    /// With all weights, and with those that are kept.
    macs: [u64; 2],
}

impl Row {
    /// The sum of all rows.
    fn total(rows: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> u64| rows.iter().map(of).sum();
        Self {
            name: "total".into(),
            shape: Vec::new(),
            n: sum(|row| row.n),
            n_kept: sum(|row| row.n_kept),
            n_effective: rows.iter().map(|row| row.n_effective).sum(),
            macs: [sum(|row| row.macs[0]), sum(|row| row.macs[1])],
        }
    }
}

/// A table with a line for each layer and one for all of them.
fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| printable(&row.name).chars().count()).fold(5, usize::max);
    let mut lines = vec![format!(
        "{:<width$}  {:<17} {:>9} {:>9} {:>9} {:>9} {:>12} {:>12}",
        "layer", "shape", "weights", "kept", "sparsity", "effective", "MACs dense", "MACs sparse"
    )];
    for row in rows.iter().chain([&Row::total(rows)]) {
        let Row { n, n_kept, n_effective, macs: [dense, sparse], .. } = *row;
        let percent = |kept: u64| format!("{:.2} %", 100.0 * (1.0 - kept as f64 / n.max(1) as f64));
        let shape: Vec<String> = row.shape.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "{:<width$}  {:<17} {n:>9} {n_kept:>9} {:>9} {:>9} {dense:>12} {sparse:>12}",
            printable(&row.name),
            shape.join("x"),
            percent(n_kept),
            n_effective.map_or_else(|| format::NOTHING.into(), percent)
        ));
    }
    lines.join("\n")
}

/// Counts over all layers, as in `result.json`.
pub fn totals(analysis: &Analysis) -> Totals {
    Totals {
        sparsity: analysis.sparsity().get(),
        effective_sparsity: Some(analysis.effective_sparsity().get()),
        n_prunable: analysis.total(|l| l.info.n_weights()),
        n_kept: analysis.total(|l| l.n_kept),
        macs_dense: analysis.total(|l| l.macs_dense),
        macs_sparse: analysis.total(|l| l.macs_sparse),
    }
}

/// Counts of each layer, as in `result.json`.
pub fn layers(analysis: &Analysis) -> Vec<LayerResult> {
    let layers = analysis.layers.iter().map(|l| LayerResult {
        name: l.info.name.clone(),
        kind: l.info.kind.name().into(),
        shape: l.info.shape.clone(),
        n_weights: l.info.n_weights(),
        n_kept: l.n_kept,
        n_effective: Some(l.n_effective),
        sparsity: Sparsity::of(l.n_kept, l.info.n_weights()).get(),
        macs_dense: l.macs_dense,
        macs_sparse: l.macs_sparse,
    });
    layers.collect()
}
