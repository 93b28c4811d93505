//! `taper eval`.

use super::Pruned;
use crate::{
    args::{Eval, EvalEngine},
    error::usage,
    machine, network, scores, term,
};
use clap::ValueEnum;
use serde_json::json;
use std::collections::BTreeMap;
use taper::{
    data::{Loader, LoaderConfig},
    export::Network,
    infer::Options,
    nn::Gates,
    train::{CrossEntropy, Evaluation, evaluate},
};

/// Measures a pruned checkpoint on the test images.
pub fn run(args: &Eval) -> anyhow::Result<()> {
    let engine = engine(args)?;
    machine::prepare(&args.compute)?;
    let device = machine::device(&args.compute.device)?;
    let pruned = Pruned::load(&args.checkpoint, &device)?;
    let (data, normalisation) = pruned.data(args.data.as_deref(), &args.checkpoint)?;
    let config = LoaderConfig::evaluation(args.batch_size as usize, normalisation);
    let images = Loader::new(data.test.clone(), config)?;
    let found = match engine {
        EvalEngine::Candle => {
            evaluate(&*pruned.model, &Gates::NONE, &images, &CrossEntropy::default(), &device)?
        }
        EvalEngine::Compiled => compiled(&pruned, &images, args)?,
    };
    if args.json {
        term::print(format_args!(
            "{}",
            json!({
                "checkpoint": args.checkpoint.display().to_string(),
                "data": data.name,
                "engine": engine.to_possible_value().map(|value| value.get_name().to_owned()),
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

/// What runs the network.
fn engine(args: &Eval) -> anyhow::Result<EvalEngine> {
    let needs_candle = match (&args.compute.device[..], args.compute.kernels) {
        ("cpu", None) => None,
        ("cpu", Some(_)) => Some("--kernels chooses among the kernels of training"),
        _ => Some("compiled networks run on the CPU"),
    };
    match (args.engine, needs_candle) {
        (Some(EvalEngine::Compiled), Some(reason)) => {
            Err(usage(format!("{reason}; leave it out, or pass --engine candle")))
        }
        (Some(engine), _) => Ok(engine),
        (None, None) => Ok(EvalEngine::Compiled),
        (None, Some(_)) => Ok(EvalEngine::Candle),
    }
}

/// Loss and accuracy of the compiled network, whose bits do not depend on the kernels that are chosen.
fn compiled(pruned: &Pruned, images: &Loader, args: &Eval) -> anyhow::Result<Evaluation> {
    let threads = rayon::current_num_threads();
    let network = Network::of(&*pruned.model, pruned.architecture.image, BTreeMap::new())?;
    let variant = Some(machine::variant()?);
    let batch = args.batch_size as usize;
    let options = Options { batch, threads, deterministic: false, variant };
    let engine = network::compile(network.graph(), &options, &args.checkpoint)?;
    let (mut workspace, mut results) = (engine.workspace()?, Vec::new());
    let n_classes = pruned.checkpoint.classes;
    let (mut loss, mut n_correct, mut n_images) = (0.0, 0u64, 0u64);
    for batch in images.epoch(0) {
        results.resize(batch.len() * n_classes, 0.0);
        engine.run_with(&mut workspace, &batch.images, &mut results)?;
        for (logits, &label) in results.chunks_exact(n_classes).zip(&batch.labels) {
            loss += scores::cross_entropy(logits, label as usize);
            n_correct += u64::from(scores::is_correct(logits, label as usize));
        }
        n_images += batch.len() as u64;
    }
    let count = n_images.max(1) as f64;
    Ok(Evaluation { loss: loss / count, accuracy: n_correct as f64 / count, n_images })
}
