//! `taper models`.

use crate::{args::Json, term};
use serde_json::json;
use taper::{train::analyse, zoo::ARCHITECTURES};

/// Lists the architectures, with counts for ten classes.
pub fn run(args: &Json) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for architecture in ARCHITECTURES {
        let model = architecture.build(10, 0, &candle_core::Device::Cpu)?;
        let analysis = analyse(&*model, architecture.image)?;
        rows.push(json!({
            "name": architecture.name,
            "summary": architecture.summary,
            "image": architecture.image,
            "n_params": model.params().n_params(),
            "n_prunable": analysis.total(|l| l.info.n_weights()),
            "macs": analysis.total(|l| l.macs_dense),
        }));
    }
    if args.json {
        term::print(format_args!("{}", serde_json::to_string_pretty(&rows)?))?;
        return Ok(());
    }
    term::print(format_args!(
        "{:<12} {:>11} {:>11} {:>13}  for 10 classes",
        "model", "parameters", "prunable", "MACs"
    ))?;
    for row in rows {
        let text = |key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), String::from);
        term::print(format_args!(
            "{:<12} {:>11} {:>11} {:>13}  {}",
            text("name"),
            text("n_params"),
            text("n_prunable"),
            text("macs"),
            text("summary")
        ))?;
    }
    Ok(())
}
