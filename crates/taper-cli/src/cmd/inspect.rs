//! The command `taper inspect`: counts of weights and MACs by layer.

use crate::{args::Inspect, error::printable, network, pruned::Pruned, term};
use serde::Serialize;
use taper::{
    core::{LayerKind, Sparsity},
    export::Network,
    record::result::{LayerResult, Totals},
    train::analyse,
};
use taper_experiment::{layers, totals};
use taper_report::format;

/// Lists kept weights, sparsity and multiply-accumulates (MACs) of each layer.
pub fn run(args: &Inspect) -> anyhow::Result<()> {
    match network::is_exported(&args.checkpoint) {
        true => of_graph(args),
        false => of_checkpoint(args),
    }
}

/// Lists the layers of a pruned checkpoint.
fn of_checkpoint(args: &Inspect) -> anyhow::Result<()> {
    network::refuse_given(&args.checkpoint, &args.left_open)?;
    let pruned = Pruned::load(&args.checkpoint, &candle_core::Device::Cpu)?;
    let analysis = analyse(&*pruned.model, pruned.architecture.image)?;
    let n_params = pruned.model.params().n_params();
    let (totals, layers) = (totals(&analysis), layers(&analysis));
    if args.json {
        let (model, classes) = (&*pruned.architecture.name, Some(pruned.checkpoint.classes));
        return Report { model, classes, n_params, totals, layers }.print();
    }
    term::print(table(layers))?;
    term::print(format_args!(
        "\n{} with {} classes: {n_params} parameters. Effective sparsity also counts weights without a path to the input or output.",
        pruned.architecture.name, pruned.checkpoint.classes
    ))
}

/// Lists the layers of an exported network or an ONNX file, without effective sparsity.
fn of_graph(args: &Inspect) -> anyhow::Result<()> {
    let network = Network::from(network::graph(&args.checkpoint, &args.left_open)?);
    let graph = network.graph();
    let (title, n_params) = (network::title(graph, &args.checkpoint), network.n_params()?);
    let layers = graph.layers()?;
    let layers = layers.iter().map(|l| {
        let shape = l.weight.dims().to_vec();
        // The weight of a convolution has four dimensions.
        let kind = if shape.len() > 2 { LayerKind::Conv } else { LayerKind::Linear };
        LayerResult {
            name: l.name.into(),
            kind: kind.name().into(),
            shape,
            n_weights: l.n_weights(),
            n_kept: l.n_kept(),
            n_effective: None,
            sparsity: Sparsity::of(l.n_kept(), l.n_weights()).get(),
            macs_dense: l.macs_dense(),
            macs_sparse: l.macs_sparse(),
        }
    });
    let layers: Vec<LayerResult> = layers.collect();
    if args.json {
        let total = total(&layers);
        let totals = Totals {
            sparsity: network.sparsity()?,
            effective_sparsity: None,
            n_prunable: total.n_weights,
            n_kept: total.n_kept,
            macs_dense: total.macs_dense,
            macs_sparse: total.macs_sparse,
        };
        return Report { model: &title, classes: None, n_params, totals, layers }.print();
    }
    term::print(table(layers))?;
    term::print(format_args!("\n{title}: {n_params} parameters."))
}

/// The output of `--json`.
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

/// The sum of all layers, as one row.
fn total(layers: &[LayerResult]) -> LayerResult {
    let sum = |of: fn(&LayerResult) -> u64| layers.iter().map(of).sum();
    let (n_kept, n_weights) = (sum(|layer| layer.n_kept), sum(|layer| layer.n_weights));
    LayerResult {
        name: "total".into(),
        kind: String::new(),
        shape: Vec::new(),
        n_weights,
        n_kept,
        n_effective: layers.iter().map(|layer| layer.n_effective).sum(),
        sparsity: Sparsity::of(n_kept, n_weights).get(),
        macs_dense: sum(|layer| layer.macs_dense),
        macs_sparse: sum(|layer| layer.macs_sparse),
    }
}

/// A table with a line for each layer and a line with the total.
fn table(mut layers: Vec<LayerResult>) -> String {
    layers.push(total(&layers));
    let width =
        layers.iter().map(|layer| printable(&layer.name).chars().count()).fold(5, usize::max);
    let mut lines = vec![format!(
        "{:<width$}  {:<17} {:>9} {:>9} {:>9} {:>9} {:>12} {:>12}",
        "layer", "shape", "weights", "kept", "sparsity", "effective", "MACs dense", "MACs sparse"
    )];
    for layer in &layers {
        let LayerResult { n_weights: n, n_kept, macs_dense, macs_sparse, .. } = *layer;
        let percent = |kept: u64| format!("{:.2} %", 100.0 * (1.0 - kept as f64 / n.max(1) as f64));
        let shape: Vec<String> = layer.shape.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "{:<width$}  {:<17} {n:>9} {n_kept:>9} {:>9} {:>9} {macs_dense:>12} {macs_sparse:>12}",
            printable(&layer.name),
            shape.join("x"),
            percent(n_kept),
            layer.n_effective.map_or_else(|| format::NOTHING.into(), percent)
        ));
    }
    lines.join("\n")
}
