//! Reads the network in a file of any supported format.

use crate::{
    args::Opening,
    error::{printable, usage},
};
use anyhow::{Context, bail};
use candle_core::Device;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};
use taper::{
    core::{Sparsity, rng::Rng},
    data::Normalisation,
    export::{Network, Opened, is_onnx, open},
    graph::{Graph, Op},
    infer::{Engine, Options},
    nn::Model,
    onnx,
    train::{
        checkpoint::{PrunedCheckpoint, TrainingCheckpoint},
        n_kept,
    },
    zoo::Architecture,
};
use taper_experiment::{Resolved, source};

/// Maximum number of classes. A network is built with the claimed number before the tensors are read, so it is limited.
pub const MOST_CLASSES: usize = 1 << 16;

/// The graph of a network in a file of any format: an ONNX file of any tool, or a file that [`load`] reads.
///
/// # Errors
/// As [`load`].
pub fn graph(path: &Path, given: &Opening) -> anyhow::Result<Graph> {
    match is_onnx(path)? {
        true => of_onnx(path, given),
        false => Ok(load(path, given)?.into_graph()),
    }
}

/// Whether `taper export` wrote a file, or it is an ONNX file: [`graph`] reads it. Other files must be opened as a pruned
/// checkpoint. If that fails, the error names the expected format.
pub fn is_exported(path: &Path) -> bool {
    let is_export = |opened: Opened| {
        let has = |key| opened.metadata(key).is_some();
        let is_checkpoint =
            |kind| PrunedCheckpoint::is_kind(kind) || TrainingCheckpoint::is_kind(kind);
        (has("architecture") || has("shrunk_from"))
            && !opened.metadata("kind").is_some_and(is_checkpoint)
    };
    is_onnx(path).unwrap_or(false) || open(path).is_ok_and(is_export)
}

/// The graph of an ONNX file.
fn of_onnx(path: &Path, given: &Opening) -> anyhow::Result<Graph> {
    let options = onnx::Options { image: given.size, output: given.output.clone() };
    options.open(path).map_err(|error| match error.left_open() {
        Some(onnx::LeftOpen::Image) => {
            usage(format!("{}; pass it with --size, such as --size 3x224x224", error.reason()))
        }
        Some(onnx::LeftOpen::Output) => usage(format!("{}; name it with --output", error.reason())),
        None => error.into(),
    })
}

/// Rejects `--size` and `--output` for a file that does not need them.
///
/// # Errors
/// If one of them is given.
pub fn refuse_given(path: &Path, given: &Opening) -> anyhow::Result<()> {
    for (flag, is_given) in [("--size", given.size.is_some()), ("--output", given.output.is_some())]
    {
        if is_given {
            let file = path.display();
            return Err(usage(format!(
                "{flag} applies only to ONNX files of other tools, but {file} is not one; leave it out"
            )));
        }
    }
    Ok(())
}

/// Rejects a file of a shrunk network: it no longer fits an architecture of the zoo.
///
/// # Errors
/// If the network was shrunk.
pub fn refuse_shrunk(opened: &Opened, path: &Path) -> anyhow::Result<()> {
    let Some(architecture) = opened.metadata("shrunk_from") else { return Ok(()) };
    Err(usage(format!(
        "{} contains a shrunk network, which no longer has the layers of {architecture}; pass the ONNX file of `taper shrink` to eval, bench, predict, inspect or export, or use the original checkpoint",
        path.display()
    )))
}

/// Compiles the network of a file.
///
/// # Errors
/// If the engine does not support the network; the message names the file.
pub fn compile(graph: &Graph, options: &Options, path: &Path) -> anyhow::Result<Engine> {
    let failed = || format!("cannot compile {}", path.display());
    Engine::compile(graph, options).with_context(failed)
}

/// Reads the network of a pruned or training checkpoint or of an exported file, with batch norm folded or not. Its
/// metadata are those of a pruned checkpoint, including `architecture`, `classes` and `recipe`. For an ONNX file
/// without an architecture, or which was edited and no longer computes what its architecture does, the network is the
/// file's own graph, without an architecture.
///
/// # Errors
/// If the file cannot be read, does not name its architecture, or lacks a tensor; if an ONNX file is damaged, has an
/// unsupported operation, or needs `--size` or `--output`; and if one of these is given for a file that does not need
/// it.
pub fn load(path: &Path, given: &Opening) -> anyhow::Result<Network> {
    let own = match is_onnx(path)? {
        true => Some(of_onnx(path, given)?),
        false => None,
    };
    let own = match own {
        Some(graph) if !graph.metadata.contains_key("architecture") => return Ok(graph.into()),
        own => own,
    };
    let opened = open(path)?;
    if own.is_none() {
        refuse_given(path, given)?;
    }
    refuse_shrunk(&opened, path)?;
    if opened.metadata("kind").is_some_and(TrainingCheckpoint::is_kind) {
        return in_training(path);
    }
    let place = path.display();
    let said = |key: &str| {
        opened.metadata(key).ok_or_else(|| {
            usage(format!(
                "{place} does not record its {key}; convert it to a checkpoint with `taper import --model NAME`"
            ))
        })
    };
    let (name, classes) = (said("architecture")?, said("classes")?);
    let architecture = Architecture::find(name).with_context(|| place.to_string())?;
    let classes = match classes.parse() {
        Ok(n @ 1..=MOST_CLASSES) => n,
        _ => bail!("{place} records {classes} classes, outside 1 to {MOST_CLASSES}"),
    };
    let model = architecture.build(classes, 0, &Device::Cpu)?;
    let like = Network::of(&*model, architecture.image, BTreeMap::new())?;
    let network = opened.network(&like);
    let Some(mut graph) = own else { return Ok(network?) };
    match network {
        Ok(network) if computes_alike(&graph, network.graph(), path)? => Ok(network),
        // It was edited: its tensors or its operations are no longer those of the architecture.
        _ => {
            graph.metadata.retain(|key, _| key != "architecture" && key != "classes");
            Ok(graph.into())
        }
    }
}

/// Rejects an ONNX file with the tensors of a model for images of a shape, which it does not compute: an operation or an
/// attribute differs. Operations that the engine does not support are not compared.
///
/// # Errors
/// If the file is such a file.
pub fn refuse_edited(path: &Path, model: &dyn Model, image: [usize; 3]) -> anyhow::Result<()> {
    if !is_onnx(path)? {
        return Ok(());
    }
    let given = Opening { size: Some(image), output: None };
    let Ok(own) = of_onnx(path, &given) else { return Ok(()) };
    let network = Network::of(model, image, BTreeMap::new())?;
    if !computes_alike(&own, network.graph(), path)? {
        return Err(usage(format!(
            "{} has the weights of the architecture, but computes something else; convert it with `taper export`, which keeps its operations",
            path.display()
        )));
    }
    Ok(())
}

/// Whether two graphs give nearly the same results for images of pseudo-random pixels. Batch norm may be folded in one
/// of them, so results differ by rounding.
fn computes_alike(a: &Graph, b: &Graph, path: &Path) -> anyhow::Result<bool> {
    /// Standard deviations of the pixels: bounds of activations matter for large ones only.
    const SCALES: [f32; 2] = [1.0, 100.0];
    /// Relative to the largest result.
    const TOLERANCE: f32 = 1e-3;
    if a.input_dims() != b.input_dims() || a.output_dims() != b.output_dims() {
        return Ok(false);
    }
    let [a, b] = [compile(a, &Options::default(), path)?, compile(b, &Options::default(), path)?];
    let n = a.input_dims().iter().product();
    for scale in SCALES {
        let mut rng = Rng::for_key([0]);
        let image: Vec<f32> = (0..n).map(|_: usize| scale * rng.normal() as f32).collect();
        let (a, b) = (a.run(&image)?, b.run(&image)?);
        let largest = b.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let most = if largest.is_finite() { TOLERANCE * largest } else { 0.0 };
        if !a.iter().zip(&b).all(|(a, b)| a == b || (a - b).abs() <= most) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The shape of the images that a network reads: channels, rows, columns.
///
/// # Errors
/// If its input is not an image.
pub fn image(graph: &Graph, file: &Path) -> anyhow::Result<[usize; 3]> {
    let dims = graph.input_dims();
    let image = dims.try_into().ok();
    image.with_context(|| format!("{} has inputs of shape {dims:?}, not images", file.display()))
}

/// The number of classes of a network.
///
/// # Errors
/// If its output is not one score for each class.
pub fn n_classes(graph: &Graph, file: &Path) -> anyhow::Result<usize> {
    match *graph.output_dims() {
        [n] | [n, 1, 1] if n > 0 => Ok(n),
        ref dims => {
            bail!("{} has outputs of shape {dims:?}, not one score for each class", file.display())
        }
    }
}

/// Whether a network ends with a softmax over its classes; reshapes after it do not count.
pub fn ends_with_softmax(graph: &Graph) -> bool {
    let mut node = &graph.nodes[graph.output];
    while let (Op::Reshape(_), &[input]) = (&node.op, &node.inputs[..]) {
        node = &graph.nodes[input];
    }
    matches!(node.op, Op::Softmax { axis } if node.dims.iter().product::<usize>() == node.dims[axis])
}

/// The name of a network: its architecture, or else its file.
pub fn title(graph: &Graph, file: &Path) -> String {
    let said = |key: &str| graph.metadata.get(key).map(|name| printable(name));
    let shrunk = said("shrunk_from").map(|name| format!("{name}, shrunk"));
    shrunk.or_else(|| said("architecture")).unwrap_or_else(|| file.display().to_string())
}

/// The network of a training checkpoint, pruned as if training ended there.
fn in_training(path: &Path) -> anyhow::Result<Network> {
    let checkpoint = TrainingCheckpoint::load(path)?;
    let place = || format!("checkpoint {}", path.display());
    let resolved = Resolved::recorded(&checkpoint.recipe).with_context(place)?;
    let architecture = Architecture::find(resolved.model()).with_context(place)?;
    let bias = last_bias(&*architecture.build(1, 0, &Device::Cpu)?)?;
    let Some(&[classes @ 1..=MOST_CLASSES]) = checkpoint.shape(&bias) else {
        bail!("{} has no tensor {bias} of 1 to {MOST_CLASSES} classes", place())
    };
    let model = architecture.build(classes, 0, &Device::Cpu)?;
    // Thresholds and masks depend on weights and state only; the schedule is not used.
    let pruner = resolved.pruner_for_any_length(model.params()).with_context(place)?;
    checkpoint.bake_into(model.params(), pruner)?;
    let (n_kept, n) = n_kept(model.params())?;
    let sparsity = Sparsity::of(n_kept, n).get();
    let recipe = checkpoint.recipe;
    let pruned = PrunedCheckpoint::of(&*model, &architecture.name, classes, sparsity, recipe);
    Ok(Network::of(&*model, architecture.image, pruned.metadata())?)
}

/// Name of the bias of the last layer. Its length is the number of classes.
///
/// # Errors
/// If there is no layer.
pub fn last_bias(model: &dyn Model) -> anyhow::Result<String> {
    let layers = model.params().layers();
    let last = layers.last().and_then(|layer| layer.name.strip_suffix(".weight"));
    Ok(format!("{}.bias", last.context("the network has no layers")?))
}

/// The recipe in a file's metadata; an empty object if there is none. `path` is for the message.
///
/// # Errors
/// If it is not JSON.
pub fn recipe(text: Option<&str>, path: &Path) -> anyhow::Result<Value> {
    match text {
        Some(text) => serde_json::from_str(text)
            .with_context(|| format!("{}: its recipe is not JSON", path.display())),
        None => Ok(Value::Object(Map::new())),
    }
}

/// Removes the folder of the training images from a network's metadata, for files that go to other machines.
pub fn remove_folder(network: &mut Network) {
    let Some(text) = network.metadata_mut().get_mut("recipe") else { return };
    if let Ok(mut recipe) = serde_json::from_str(text)
        && source::remove_folder(&mut recipe)
    {
        *text = recipe.to_string();
    }
}

/// The normalization of pixels, if a recipe records it.
///
/// # Errors
/// If it names unknown constants.
pub fn normalisation(recipe: &Value) -> anyhow::Result<Option<Normalisation>> {
    let name = recipe["train"]["normalise"].as_str();
    Ok(name.map(Normalisation::by_name).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use taper::train::checkpoint::RawFile;

    /// The error for a file with this metadata and no tensors.
    fn refused(metadata: &[(&str, &str)]) -> anyhow::Error {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.safetensors");
        let metadata = metadata.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string()));
        let file = RawFile { metadata: metadata.collect(), ..RawFile::default() };
        file.save(&path).unwrap();
        load(&path, &Opening::default()).unwrap_err()
    }

    #[test]
    fn errors_name_missing_and_wrong_metadata() {
        let said = |metadata: &[(&str, &str)], part: &str| {
            let error = crate::error::sentence(&refused(metadata));
            assert!(error.contains(part) && error.contains("network.safetensors"), "{error}");
        };
        let digits = ("architecture", "digits-cnn");
        said(&[("classes", "10")], "does not record its architecture");
        said(&[digits], "does not record its classes");
        said(&[("architecture", "digits"), ("classes", "10")], "unknown model `digits`");
        for classes in ["0", "65537", "-1", "ten"] {
            said(&[digits, ("classes", classes)], "classes, outside 1 to 65536");
        }
        said(&[digits, ("classes", "65536")], "bn1.bias");
        let training = ("kind", "taper-training-2");
        said(&[training, ("recipe", "{}"), ("progress", "{}")], "`progress` lacks a field");
        said(&[("kind", "taper-training-1")], "its kind is `taper-training-1`");
    }

    #[test]
    fn the_normalization_is_read_from_the_recipe_if_recorded() {
        let of = |recipe: Value| normalisation(&recipe);
        let named = |name: &str| of(json!({ "train": { "normalise": name } }));
        assert_eq!(named("digits").unwrap(), Some(Normalisation::DIGITS));
        assert_eq!(of(json!({})).unwrap(), None);
        assert!(named("mnist").unwrap_err().to_string().contains("`mnist`"));
        let path = Path::new("file");
        assert_eq!(recipe(None, path).unwrap(), json!({}));
        assert_eq!(recipe(Some("[1]"), path).unwrap(), json!([1]));
        assert!(recipe(Some("{"), path).unwrap_err().to_string().contains("file: its recipe"));
    }
}
