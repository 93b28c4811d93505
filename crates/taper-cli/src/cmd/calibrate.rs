//! The command `taper calibrate`: estimates batch-norm statistics again.

use crate::{args::Calibrate, existing::refuse_existing, machine, pruned::Pruned, term};
use taper::{
    data::{Augment, Loader, LoaderConfig},
    train::{calibrate, checkpoint::PrunedCheckpoint},
};

/// Estimates the batch-norm statistics of a pruned checkpoint again, from training images.
pub fn run(args: &Calibrate) -> anyhow::Result<()> {
    refuse_existing("--out", &args.out, args.force)?;
    let compute = machine::prepare(&args.compute)?;
    let device = compute.device()?;
    let pruned = Pruned::load(&args.checkpoint, &device)?;
    let (data, normalisation) = pruned.data(args.data.as_deref(), &args.checkpoint)?;
    let config = LoaderConfig::train(args.batch_size as usize, Augment::None, normalisation, 0);
    let images = Loader::new(data.train.clone(), config)?;
    let (n_batches, kernels) = (args.batches as usize, compute.kernels());
    calibrate(&*pruned.model, &images, n_batches, &device, &kernels)?;
    let PrunedCheckpoint { architecture, classes, sparsity, recipe, .. } = &pruned.checkpoint;
    let out =
        PrunedCheckpoint::of(&*pruned.model, architecture, *classes, *sparsity, recipe.clone());
    out.save(&args.out)?;
    let n = images.batches_per_epoch().min(args.batches as usize);
    let n_images: usize = (0..n).map(|number| images.n_images_of(number)).sum();
    term::print(format_args!(
        "{}: batch-norm statistics from {n_images} training images of {}, in {n} batches",
        args.out.display(),
        data.name
    ))
}
