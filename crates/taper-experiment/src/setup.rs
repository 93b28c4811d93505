//! The parts of a run: experiment, data, network.

use crate::{
    compute::Compute,
    error::usage,
    images::{check_named, open_data},
    spec::Resolved,
};
use candle_core::Device;
use serde_json::Value;
use std::path::Path;
use taper::{
    data::{Dataset, FetchProgress, Loader, LoaderConfig},
    nn::{KernelContext, Model},
    record::NAMES,
    train::{Run, checkpoint::Checkpoints},
    zoo::Architecture,
};

/// The experiment, the data and the network of a run.
pub struct Setup {
    pub(crate) resolved: Resolved,
    pub(crate) device: Device,
    kernels: KernelContext,
    pub(crate) architecture: Architecture,
    pub(crate) data: Dataset,
    /// The recipe, as `run.json` records it.
    pub record: Value,
    /// Loads the training images in the order of each epoch.
    pub train: Loader,
    test: Loader,
    /// Training images that are held out; `data` does not contain them.
    pub(crate) validation: Option<Loader>,
    pub(crate) model: Box<dyn Model>,
}

impl Setup {
    /// Reports all errors of a run that can be found without downloading data.
    ///
    /// # Errors
    /// The errors of [`of`](Self::of) and [`run`](Self::run).
    pub fn check(experiment: &Resolved, compute: &Compute) -> anyhow::Result<()> {
        // The digits are embedded in the program.
        if experiment.data() == "digits" {
            Self::of(experiment, compute, None)?.run()?;
            return Ok(());
        }
        compute.device()?;
        let full = Architecture::find(experiment.model()).map_err(usage)?;
        let (name, is_folder) = (experiment.data(), Path::new(experiment.data()).is_dir());
        if Dataset::shape_of(name).is_none() && !is_folder {
            // This error lists the known names.
            open_data(name, &full.name, full.image, None, None)?;
        }
        check_named(experiment.data(), &full.name, full.image)?;
        if let Some(shape) = Dataset::shape_of(experiment.data()) {
            experiment.normalisation(experiment.data(), shape)?;
        }
        let Some(classes) = Dataset::classes_of(experiment.data()) else { return Ok(()) };
        let network = experiment.architecture(classes.len())?;
        if let Some(start) = experiment.start() {
            let model = network.build(classes.len(), experiment.seed(), &Device::Cpu)?;
            start.load_into(model.params(), classes.len())?;
        }
        Ok(())
    }

    /// Reads the data, downloads them if they are missing, and builds the network.
    ///
    /// # Errors
    /// If the data cannot be read or downloaded, does not fit the experiment, or the device is not available.
    pub fn of(
        experiment: &Resolved,
        compute: &Compute,
        fetching: Option<&dyn FetchProgress>,
    ) -> anyhow::Result<Self> {
        let resolved = experiment.clone();
        let device = compute.device()?;
        let full = Architecture::find(resolved.model()).map_err(usage)?;
        let (data, limit) = (resolved.data(), resolved.limit());
        let mut data = open_data(data, &full.name, full.image, limit, fetching)?;
        let architecture = resolved.architecture(data.classes.len())?;
        let record = resolved.record(&data)?;
        let held_out = match resolved.n_validation(data.train.len()) {
            None => None,
            Some(n) => {
                let start = resolved.start();
                let before =
                    start.and_then(|s| s.n_validation(&data.fingerprint, data.train.len()));
                if let Some(before) = before.filter(|&before| before < n) {
                    tracing::warn!(
                        "the checkpoint was trained on {} of the {n} validation images, so the validation accuracy is too \
                         high; set train.validation to at most {before}",
                        n - before
                    );
                }
                let parts = data.train.hold_out(n);
                let (rest, held_out) =
                    parts.map_err(|error| usage(format!("train.validation: {error}")))?;
                data.train = rest.into();
                Some(held_out)
            }
        };
        let normalisation = resolved.normalisation(&data.name, data.shape())?;
        let normalisation = normalisation.with_scale(data.normalisation.scale());
        let train_config = LoaderConfig::train(
            resolved.batch_size(),
            resolved.augment()?,
            normalisation.clone(),
            resolved.seed(),
        );
        let test_config = LoaderConfig::evaluation(resolved.batch_size().max(128), normalisation);
        let train = Loader::new(data.train.clone(), train_config)?;
        let test = Loader::new(data.test.clone(), test_config.clone())?;
        let validation = held_out.map(|part| Loader::new(part, test_config)).transpose()?;
        let model = architecture.build(data.classes.len(), resolved.seed(), &device)?;
        if let Some(start) = resolved.start() {
            start.warn_of_classes(&data.classes);
            start.load_into(model.params(), data.classes.len())?;
        }
        let kernels = compute.kernels();
        Ok(Self {
            resolved,
            device,
            kernels,
            architecture,
            data,
            record,
            train,
            test,
            validation,
            model,
        })
    }

    /// Prepares a run from its first step.
    ///
    /// # Errors
    /// If the experiment does not fit the length of the run or the network.
    pub fn run(&self) -> anyhow::Result<Run<'_>> {
        let recipe = self.resolved.recipe();
        recipe.check(&self.train).map_err(|error| usage(format!("train.{error}")))?;
        let total = recipe.total_steps(&self.train);
        let warmup = recipe.warmup_steps(&self.train);
        let pruner = self.resolved.pruner(self.model.params(), total, warmup)?;
        let mut run = Run::new(&*self.model, pruner, &self.train, &self.test, recipe, &self.device);
        run.kernels = self.kernels.clone();
        run.optimizer = self.resolved.optimizer()?;
        run.learning_rate = self.resolved.learning_rate(total, warmup)?;
        run.validation = self.validation.as_ref();
        Ok(run)
    }

    /// The images on which epochs are compared; `None` if nothing compares epochs.
    pub(crate) fn chosen_on(&self) -> Option<&'static str> {
        let on = if self.validation.is_some() { "validation" } else { "test" };
        self.resolved.choices().map(|_| on)
    }

    /// Opens the checkpoints of a run folder.
    ///
    /// # Errors
    /// If their folder cannot be created.
    pub fn checkpoints(&self, folder: &Path) -> anyhow::Result<Checkpoints> {
        let (every, keep_last, keep_best) = self.resolved.checkpointing();
        Ok(Checkpoints::new(&folder.join(NAMES.checkpoints), self.record.clone())?
            .every(every)
            .keep_last(keep_last)
            .keep_best(keep_best))
    }
}
