//! The command `taper models`: lists the architectures.

use crate::{args::Json, term};
use serde_json::json;
use taper::{train::layer_macs, zoo::ARCHITECTURES};

/// Lists the architectures, with counts for ten classes.
pub fn run(args: &Json) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for architecture in ARCHITECTURES {
        let model = architecture.build(10, 0, &candle_core::Device::Cpu)?;
        let n_prunable: u64 = model.params().layers().iter().map(|l| l.n_weights()).sum();
        let macs: u64 = layer_macs(&*model, architecture.image)?.iter().sum();
        rows.push(json!({
            "name": architecture.name,
            "summary": architecture.summary,
            "image": architecture.image,
            "n_params": model.params().n_params(),
            "n_prunable": n_prunable,
            "macs": macs,
        }));
    }
    if args.json {
        term::print(format_args!("{}", serde_json::to_string_pretty(&rows)?))?;
        return Ok(());
    }
    term::print(format_args!(
        "{:<22} {:>11} {:>11} {:>13}  for 10 classes",
        "model", "parameters", "prunable", "MACs"
    ))?;
    for row in rows {
        let text = |key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), String::from);
        term::print(format_args!(
            "{:<22} {:>11} {:>11} {:>13}  {}",
            text("name"),
            text("n_params"),
            text("n_prunable"),
            text("macs"),
            text("summary")
        ))?;
    }
    term::print(
        "\nNAME@WIDTH multiplies the number of channels by WIDTH, for example resnet20@0.5.",
    )
}
