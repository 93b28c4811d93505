//! `taper eval`.

use super::{Pruned, open_data};
use crate::{args::Eval, machine, term};
use anyhow::Context;
use serde_json::json;
use taper::{
    data::{Loader, LoaderConfig, Normalisation},
    nn::Gates,
    train::evaluate,
};

/// Measures a pruned checkpoint on the test images.
pub fn run(args: &Eval) -> anyhow::Result<()> {
    machine::prepare(&args.compute)?;
    let device = machine::device(&args.compute.device)?;
    let pruned = Pruned::load(&args.checkpoint, &device)?;
    let recipe = &pruned.checkpoint.recipe;
    let text = |value: &serde_json::Value, what: &str| {
        value.as_str().map(String::from).with_context(|| {
            format!("checkpoint {}: its recipe does not say its {what}", args.checkpoint.display())
        })
    };
    let name = args.data.clone().map_or_else(|| text(&recipe["data"], "data set"), Ok)?;
    let data = open_data(&name, pruned.architecture, None)?;
    if data.classes.len() != pruned.checkpoint.classes {
        return Err(crate::error::usage(format!(
            "checkpoint {} has {} classes, and {} has {}; pass the data set it was trained on with --data",
            args.checkpoint.display(),
            pruned.checkpoint.classes,
            data.name,
            data.classes.len()
        )));
    }
    let normalisation =
        Normalisation::by_name(&text(&recipe["train"]["normalise"], "normalisation")?)?;
    let config = LoaderConfig::evaluation(args.batch_size as usize, normalisation);
    let found =
        evaluate(&*pruned.model, &Gates::NONE, &Loader::new(data.test.clone(), config)?, &device)?;
    if args.json {
        term::print(format_args!(
            "{}",
            json!({
                "checkpoint": args.checkpoint.display().to_string(),
                "data": data.name,
                "n_images": found.n_images,
                "test_accuracy": found.accuracy,
                "test_loss": found.loss,
                "sparsity": pruned.checkpoint.sparsity,
            })
        ))?;
    } else {
        term::print(format_args!(
            "{} on {} test images of {}: accuracy {:.2} %, loss {:.4}, sparsity {:.2} %",
            pruned.architecture.name,
            found.n_images,
            data.name,
            100.0 * found.accuracy,
            found.loss,
            100.0 * pruned.checkpoint.sparsity
        ))?;
    }
    Ok(())
}
