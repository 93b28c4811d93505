//! The command `taper eval`: accuracy and loss on the test images.

use crate::{
    args::{Eval, EvalEngine},
    error::usage,
    images::Trained,
    machine, network,
    pruned::Pruned,
    scores, term,
};
use anyhow::bail;
use clap::ValueEnum;
use serde_json::json;
use std::collections::BTreeMap;
use taper::{
    data::{Dataset, Loader, LoaderConfig, Normalisation},
    export::Network,
    graph::Graph,
    infer::Options,
    nn::Gates,
    train::{CrossEntropy, Evaluation, evaluate},
};
use taper_experiment::Compute;

/// Measures a network on the test images.
pub fn run(args: &Eval) -> anyhow::Result<()> {
    let engine = engine(args)?;
    let compute = machine::prepare(&args.compute)?;
    let measured = match network::is_exported(&args.checkpoint) {
        true => of_graph(args, engine),
        false => of_checkpoint(args, engine, &compute),
    }?;
    let Measured { model, data, found, sparsity } = measured;
    if !found.loss.is_finite() {
        let file = args.checkpoint.display();
        bail!(
            "{file} gives a loss of {} for the test images of {data}; check its weights",
            found.loss
        );
    }
    if args.json {
        return term::print(json!({
            "checkpoint": args.checkpoint.display().to_string(),
            "data": data,
            "engine": engine.to_possible_value().map(|value| value.get_name().to_owned()),
            "n_images": found.n_images,
            "test_accuracy": found.accuracy,
            "test_loss": found.loss,
            "sparsity": sparsity,
        }));
    }
    term::print(format_args!(
        "{model} on {} test images of {data}: accuracy {:.2} %, loss {:.4}, sparsity {:.2} %",
        found.n_images,
        100.0 * found.accuracy,
        found.loss,
        100.0 * sparsity
    ))
}

/// The result, with names of the model and the data set.
struct Measured {
    model: String,
    data: String,
    found: Evaluation,
    sparsity: f64,
}

/// Measures a pruned checkpoint.
fn of_checkpoint(args: &Eval, engine: EvalEngine, compute: &Compute) -> anyhow::Result<Measured> {
    network::refuse_given(&args.checkpoint, &args.left_open)?;
    let device = compute.device()?;
    let pruned = Pruned::load(&args.checkpoint, &device)?;
    let data = pruned.data(args.data.as_deref(), &args.checkpoint)?;
    let (name, images) = (data.0.name.clone(), test_images(data, args)?);
    let found = match engine {
        EvalEngine::Candle => {
            let (loss, kernels) = (CrossEntropy::default(), compute.kernels());
            evaluate(&*pruned.model, &Gates::NONE, &images, &loss, &device, &kernels)?
        }
        EvalEngine::Compiled => {
            let image = pruned.architecture.image;
            let network = Network::of(&*pruned.model, image, BTreeMap::new())?;
            compiled(network.graph(), pruned.checkpoint.classes, &images, args)?
        }
    };
    let (model, sparsity) = (pruned.architecture.name.into(), pruned.checkpoint.sparsity);
    Ok(Measured { model, data: name, found, sparsity })
}

/// Measures an exported network or an ONNX file.
fn of_graph(args: &Eval, engine: EvalEngine) -> anyhow::Result<Measured> {
    let file = &args.checkpoint;
    if engine == EvalEngine::Candle {
        return Err(usage(format!(
            "{} is not a pruned checkpoint, and the engine candle runs only these; leave out --engine, --kernels and --device",
            file.display()
        )));
    }
    let network = Network::from(network::graph(file, &args.left_open)?);
    let (graph, model) = (network.graph(), network::title(network.graph(), file));
    let (image, classes) = (network::image(graph, file)?, network::n_classes(graph, file)?);
    let recipe = network::recipe(graph.metadata.get("recipe").map(String::as_str), file)?;
    let trained = Trained { path: file, model: &model, image, classes, recipe: &recipe };
    let data = trained.data(args.data.as_deref())?;
    let (name, images) = (data.0.name.clone(), test_images(data, args)?);
    let found = compiled(graph, classes, &images, args)?;
    Ok(Measured { model, data: name, found, sparsity: network.sparsity()? })
}

fn test_images(
    (data, normalisation): (Dataset, Normalisation),
    args: &Eval,
) -> anyhow::Result<Loader> {
    let config = LoaderConfig::evaluation(args.batch_size as usize, normalisation);
    Ok(Loader::new(data.test, config)?)
}

/// The engine that runs the network.
fn engine(args: &Eval) -> anyhow::Result<EvalEngine> {
    let needs_candle = match (&args.compute.device[..], args.compute.kernels) {
        ("cpu", None) => None,
        ("cpu", Some(_)) => Some("--kernels applies only to the engine candle"),
        _ => Some("--device applies only to the engine candle; compiled networks run on the CPU"),
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

/// Loss and accuracy of the compiled network. The choice of kernels changes no bit.
fn compiled(
    graph: &Graph,
    n_classes: usize,
    images: &Loader,
    args: &Eval,
) -> anyhow::Result<Evaluation> {
    let threads = rayon::current_num_threads();
    let variant = Some(machine::variant()?);
    let batch = args.batch_size as usize;
    let options = Options { batch, threads, deterministic: false, variant };
    let engine = network::compile(graph, &options, &args.checkpoint)?;
    let loss_of = match network::ends_with_softmax(graph) {
        true => scores::log_loss,
        false => scores::cross_entropy,
    };
    let (mut workspace, mut results) = (engine.workspace()?, Vec::new());
    let (mut loss, mut n_correct, mut n_images) = (0.0, 0u64, 0u64);
    for batch in images.epoch(0) {
        results.resize(batch.len() * n_classes, 0.0);
        engine.run_with(&mut workspace, &batch.images, &mut results)?;
        for (results, &label) in results.chunks_exact(n_classes).zip(&batch.labels) {
            loss += loss_of(results, label as usize);
            n_correct += u64::from(scores::is_correct(results, label as usize));
        }
        n_images += batch.len() as u64;
    }
    let count = n_images as f64;
    Ok(Evaluation { loss: loss / count, accuracy: n_correct as f64 / count, n_images })
}
