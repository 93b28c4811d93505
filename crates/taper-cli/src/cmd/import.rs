//! The command `taper import`: converts a file to a pruned checkpoint.

use crate::{
    args::Import,
    error::usage,
    existing::{refuse_existing, refuse_input},
    network::{self, MOST_CLASSES},
    term,
};
use anyhow::bail;
use candle_core::Device;
use serde_json::json;
use std::path::Path;
use taper::{
    core::Sparsity,
    export::{Opened, open},
    nn::Model,
    train::{
        checkpoint::{PrunedCheckpoint, TrainingCheckpoint},
        n_kept,
    },
    zoo::Architecture,
};

/// Converts a file to a pruned checkpoint.
pub fn run(args: &Import) -> anyhow::Result<()> {
    refuse_existing("--out", &args.out, args.force)?;
    refuse_input(&args.file, &args.out)?;
    let opened = open(&args.file)?;
    network::refuse_shrunk(&opened, &args.file)?;
    let file = args.file.display();
    if opened.metadata("kind").is_some_and(TrainingCheckpoint::is_kind) {
        return Err(usage(format!(
            "{file} is a training checkpoint; export its network with `taper export`, and import the exported file"
        )));
    }
    let named = args.model.as_deref().or_else(|| opened.metadata("architecture"));
    let Some(name) = named else {
        return Err(usage(format!("{file} does not record its architecture; pass --model")));
    };
    let architecture = Architecture::find(name).map_err(|error| match args.model {
        Some(_) => usage(error),
        None => anyhow::Error::new(error).context(format!("{file}")),
    })?;
    // The names are checked first, on a network with one class: the file may claim any number of classes.
    let probe = architecture.build(1, 0, &Device::Cpu)?;
    opened.check_names(probe.params().entries().iter().map(|entry| entry.name.as_str()))?;
    let classes = classes(&opened, &args.file, &*probe)?;
    let model = architecture.build(classes, 0, &Device::Cpu)?;
    let entries = model.params().entries().iter();
    let shapes = entries.map(|e| (e.name.clone(), e.var.dims().to_vec())).collect();
    let tensors = opened.tensors(&shapes)?;
    model.params().load(|name| tensors.get(name).cloned())?;
    if let Some(entry) = model.params().first_not_finite()? {
        bail!(
            "{file} cannot be imported: tensor {} contains a value that is not finite",
            entry.name
        );
    }
    let (n_kept, n) = n_kept(model.params())?;
    let sparsity = Sparsity::of(n_kept, n).get();
    let recipe = network::recipe(opened.metadata("recipe"), &args.file)?;
    network::refuse_edited(&args.file, &*model, architecture.image)?;
    let checkpoint = PrunedCheckpoint::of(&*model, &architecture.name, classes, sparsity, recipe);
    checkpoint.save(&args.out)?;
    if args.json {
        let seen = json!({
            "file": args.out.display().to_string(),
            "model": architecture.name,
            "classes": classes,
            "n_prunable": n,
            "n_kept": n_kept,
            "sparsity": sparsity,
        });
        return term::print(seen);
    }
    term::print(format_args!(
        "{}: {} with {classes} classes, {n_kept} of {n} weights kept, sparsity {:.2} %",
        args.out.display(),
        architecture.name,
        100.0 * sparsity
    ))
}

/// Number of classes of the network in a file: the length of the last layer's bias.
fn classes(opened: &Opened, file: &Path, probe: &dyn Model) -> anyhow::Result<usize> {
    let file = file.display();
    match opened.len_of(&network::last_bias(probe)?)? {
        n if n > MOST_CLASSES => {
            bail!("{file} has {n} classes; at most {MOST_CLASSES} are supported")
        }
        0 => bail!("{file} has no classes: the bias of its last layer is empty"),
        n => Ok(n),
    }
}
