//! The command `taper predict`: the most probable classes of images.

use crate::{args::Predict, error::usage, machine, network, scores, term};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::Path;
use taper::{
    data::{ImageShape, Normalisation, Picture},
    infer::Options,
};
use taper_experiment::source;
use taper_report::format;

/// Prints the most probable classes of images.
pub fn run(args: &Predict) -> anyhow::Result<()> {
    let variant = Some(machine::variant()?);
    let graph = network::graph(&args.file, &args.left_open)?;
    let [channels, height, width] = network::image(&graph, &args.file)?;
    let shape = ImageShape { channels, height, width };
    let n_classes = network::n_classes(&graph, &args.file)?;
    let recipe = network::recipe(graph.metadata.get("recipe").map(String::as_str), &args.file)?;
    let names = names(args, &recipe, n_classes)?;
    let normalisation = normalisation(args, &recipe, shape)?;
    // Reads all images before the first result: an unreadable image then causes no partial output.
    let images = args.images.iter().map(|path| image(path, shape, &normalisation));
    let images = images.collect::<anyhow::Result<Vec<_>>>()?;
    let options = Options { batch: 1, threads: 1, deterministic: true, variant };
    let engine = network::compile(&graph, &options, &args.file)?;
    let (mut workspace, mut results) = (engine.workspace()?, vec![0.0; n_classes]);
    let (is_softmax, mut records) = (network::ends_with_softmax(&graph), Vec::new());
    for (path, image) in args.images.iter().zip(&images) {
        engine.run_with(&mut workspace, image, &mut results)?;
        let probabilities = match is_softmax {
            true => results.iter().map(|&p| f64::from(p)).collect(),
            false => scores::probabilities(&results),
        };
        if probabilities.iter().any(|p| p.is_nan()) {
            let (file, picture) = (args.file.display(), path.display());
            bail!("{file} gives NaN for {picture}; check its weights, --mean and --std");
        }
        let best = scores::top(&probabilities, args.top as usize);
        let class = |&class: &usize| {
            json!({
                "class": class,
                "name": names.as_ref().map(|names| &names[class]),
                "probability": probabilities[class],
            })
        };
        let classes: Vec<Value> = best.iter().map(class).collect();
        if args.json {
            records.push(json!({ "image": path.display().to_string(), "classes": classes }));
            continue;
        }
        term::print(path.display())?;
        for class in best {
            let name =
                names.as_ref().map_or_else(|| format!("class {class}"), |n| n[class].clone());
            let share = format::percent(probabilities[class], 2);
            term::print(format_args!("{share:>10}  {name}"))?;
        }
    }
    match args.json {
        true => term::print(serde_json::to_string_pretty(&records)?),
        false => Ok(()),
    }
}

/// Names of the classes: from the file in `--classes`, or else from the data set of the training; `None` if neither is
/// known.
fn names(args: &Predict, recipe: &Value, n: usize) -> anyhow::Result<Option<Vec<String>>> {
    let Some(path) = &args.classes else {
        let names = source::class_names(recipe);
        return Ok(names.filter(|names| names.len() == n));
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read classes {}", path.display()))?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    match names.len() == n {
        true => Ok(Some(names)),
        false => Err(usage(format!(
            "{} has {} lines, but {} has {n} classes; the file needs one class name per line",
            path.display(),
            names.len(),
            args.file.display()
        ))),
    }
}

/// The normalization of pixels: from `--mean` and `--std`, or else that of the training.
fn normalisation(
    args: &Predict,
    recipe: &Value,
    shape: ImageShape,
) -> anyhow::Result<Normalisation> {
    let file = args.file.display();
    let found = if args.mean.is_empty() {
        let said = network::normalisation(recipe).with_context(|| file.to_string())?;
        let Some(normalisation) = said else {
            return Err(usage(format!(
                "{file} does not record the normalization of its images; pass --mean and --std, for example --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 for networks trained on ImageNet"
            )));
        };
        normalisation.with_scale(255.0)
    } else {
        Normalisation::new(args.mean.clone(), args.std.clone(), 255.0).map_err(usage)?
    };
    match found.channels() == shape.channels {
        true => Ok(found),
        false => Err(usage(format!(
            "the normalization has {} channels, but images of {file} have {}; pass --mean and --std with one value for each channel",
            found.channels(),
            shape.channels
        ))),
    }
}

/// Reads an image file, fits it to the network's input size and normalizes it: `[channels, height, width]`.
fn image(
    path: &Path,
    shape: ImageShape,
    normalisation: &Normalisation,
) -> anyhow::Result<Vec<f32>> {
    let file = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read image {file}"))?;
    let picture = Picture::decode(&bytes).with_context(|| format!("image {file}"))?;
    let pixels = picture.fit(shape)?;
    let plane = shape.height * shape.width;
    let planes = pixels.chunks_exact(plane).enumerate();
    Ok(planes
        .flat_map(|(c, plane)| plane.iter().map(move |&p| normalisation.apply(c, p)))
        .collect())
}
