//! `taper eval`.

use super::Pruned;
use crate::{args::Eval, machine, term};
use serde_json::json;
use taper::{
    data::{Loader, LoaderConfig},
    nn::Gates,
    train::evaluate,
};

/// Measures a pruned checkpoint on the test images.
pub fn run(args: &Eval) -> anyhow::Result<()> {
    machine::prepare(&args.compute)?;
    let device = machine::device(&args.compute.device)?;
    let pruned = Pruned::load(&args.checkpoint, &device)?;
    let (data, normalisation) = pruned.data(args.data.as_deref(), &args.checkpoint)?;
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
