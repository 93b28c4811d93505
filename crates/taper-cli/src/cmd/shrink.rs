//! The command `taper shrink`: removes dead channels.

use super::export::{beside, write};
use crate::{args::Shrink, error::printable, network, term};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use taper::{
    export::{Format, Network, Options},
    graph::{Graph, GraphError, Op},
};
use taper_report::format;

/// Writes a network without its dead channels.
pub fn run(args: &Shrink) -> anyhow::Result<()> {
    let before = Network::from(network::graph(&args.file, &args.left_open)?);
    let after = before.shrunk()?;
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file, ".shrunk.onnx"));
    let options = Options { overwrite: args.force, ..Options::default() };
    let written = write(after.clone(), Format::Onnx, &args.file, &out, &options)?;
    let layers = rows(before.graph(), after.graph())?;
    let macs = |of: fn(&SizeRow) -> Option<&Size>| -> u64 {
        layers.iter().filter_map(of).map(|size| size.macs).sum()
    };
    let found = Shrunk {
        file: out.display().to_string(),
        params: [before.n_params()?, after.n_params()?],
        macs: [macs(|row| row.before.as_ref()), macs(|row| row.after.as_ref())],
        bytes: [before.bytes(), written.bytes],
        is_constant: is_constant(after.graph()),
        layers,
    };
    match args.json {
        true => term::print(serde_json::to_string_pretty(&found.json())?),
        false => term::print(found.text()),
    }
}

/// Whether the output is the same for all images.
fn is_constant(graph: &Graph) -> bool {
    matches!(graph.nodes[graph.output].op, Op::Constant(_))
}

/// Sizes before and after; in pairs, the first is before.
struct Shrunk {
    file: String,
    layers: Vec<SizeRow>,
    params: [u64; 2],
    macs: [u64; 2],
    /// Bytes of all tensors as f32, and of the written file.
    bytes: [u64; 2],
    is_constant: bool,
}

/// Sizes of a layer. `name` is the name of its weight; `None` if the layer does not exist.
struct SizeRow {
    name: String,
    before: Option<Size>,
    after: Option<Size>,
}

/// The size of a layer.
#[derive(Clone, PartialEq)]
struct Size {
    /// Shape of the weight.
    shape: Vec<usize>,
    macs: u64,
}

/// One row for each layer of `before`, in order, then the layers that only `after` has: layers that shared a weight may
/// have separate weights after shrinking.
fn rows(before: &Graph, after: &Graph) -> Result<Vec<SizeRow>, GraphError> {
    let mut left: BTreeMap<String, Size> = sizes(after)?.into_iter().collect();
    let pair = |(name, size)| SizeRow { after: left.remove(&name), before: Some(size), name };
    let mut rows: Vec<SizeRow> = sizes(before)?.into_iter().map(pair).collect();
    let others = left.into_iter();
    rows.extend(others.map(|(name, size)| SizeRow { name, before: None, after: Some(size) }));
    Ok(rows)
}

/// The layers of a network. Layers that share a weight count as one.
fn sizes(graph: &Graph) -> Result<Vec<(String, Size)>, GraphError> {
    let mut sizes: Vec<(String, Size)> = Vec::new();
    for layer in graph.layers()? {
        match sizes.iter_mut().find(|(name, _)| name == layer.name) {
            Some((_, size)) => size.macs += layer.macs_dense(),
            None => {
                let size = Size { shape: layer.weight.dims().to_vec(), macs: layer.macs_dense() };
                sizes.push((layer.name.into(), size));
            }
        }
    }
    Ok(sizes)
}

impl Shrunk {
    fn json(&self) -> Value {
        let pair = |[before, after]: [u64; 2]| json!({ "before": before, "after": after });
        let layer = |row: &SizeRow| {
            let [before, after] = [&row.before, &row.after];
            let shapes = [before, after].map(|size| size.as_ref().map(|size| &size.shape));
            let macs = [before, after].map(|size| size.as_ref().map_or(0, |size| size.macs));
            json!({
                "name": row.name,
                "shape": { "before": shapes[0], "after": shapes[1] },
                "macs": pair(macs),
            })
        };
        json!({
            "file": self.file,
            "layers": self.layers.iter().map(layer).collect::<Vec<Value>>(),
            "n_params": pair(self.params),
            "macs": pair(self.macs),
            "bytes": pair(self.bytes),
            "is_constant": self.is_constant,
        })
    }

    fn text(&self) -> String {
        let width = self.layers.iter().map(|row| printable(&row.name).chars().count());
        let width = width.fold(5, usize::max);
        let mut lines = vec![format!(
            "{:<width$}  {:<17} {:<17} {:>14} {:>14}",
            "layer", "shape", "shrunk", "MACs", "shrunk"
        )];
        let nothing = || [format::NOTHING; 2].map(String::from);
        for row in &self.layers {
            let shown = |size: &Size| {
                let shape: Vec<String> = size.shape.iter().map(ToString::to_string).collect();
                [shape.join("x"), size.macs.to_string()]
            };
            let [before, after] = [&row.before, &row.after];
            let [[shape, macs], [shrunk, fewer]] =
                [before, after].map(|size| size.as_ref().map_or_else(nothing, shown));
            let name = printable(&row.name);
            lines.push(format!("{name:<width$}  {shape:<17} {shrunk:<17} {macs:>14} {fewer:>14}"));
        }
        let total = |name: &str, [before, after]: [u64; 2], places: [&str; 2]| {
            let share = format::percent(after as f64 / before.max(1) as f64, 1);
            format!("{name:<11} {before}{} → {after}{} ({share})", places[0], places[1])
        };
        lines.push(String::new());
        lines.push(total("parameters", self.params, ["", ""]));
        lines.push(total("MACs", self.macs, ["", ""]));
        let file = format!(" in {}", self.file);
        lines.push(total("bytes", self.bytes, [" as f32", &file]));
        if self.is_constant {
            let message =
                "The output is the same for each image: no channel connects the input with it.";
            lines.push(message.into());
        } else if self.layers.iter().all(|row| row.before == row.after) {
            lines.push(format!("No channel is dead: {} holds the same network.", self.file));
        }
        lines.join("\n")
    }
}
