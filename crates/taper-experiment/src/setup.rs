//! What a run is made of: experiment, data, network.

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

/// What a run is made of, but for what it changes.
pub struct Setup {
    pub(crate) resolved: Resolved,
    pub(crate) device: Device,
    kernels: KernelContext,
    pub(crate) architecture: Architecture,
    pub(crate) data: Dataset,
    /// The recipe, as `run.json` records it.
    pub record: Value,
    /// Training images, in the order of each epoch.
    pub train: Loader,
    test: Loader,
    /// Training images that are held out; `data` is without them.
    pub(crate) validation: Option<Loader>,
    pub(crate) model: Box<dyn Model>,
}

impl Setup {
    /// Refuses what a run would refuse, as far as that is known without fetching data.
    ///
    /// # Errors
    /// As [`of`](Self::of) and [`run`](Self::run).
    pub fn check(experiment: &Resolved, compute: &Compute) -> anyhow::Result<()> {
        // The digits are in the program.
        if experiment.data() == "digits" {
            Self::of(experiment, compute, None)?.run()?;
            return Ok(());
        }
        compute.device()?;
        let full = Architecture::find(experiment.model()).map_err(usage)?;
        let (name, is_folder) = (experiment.data(), Path::new(experiment.data()).is_dir());
        if Dataset::shape_of(name).is_none() && !is_folder {
            // It says which names there are.
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

    /// Reads the data, which it fetches where they are not there, and builds the network.
    ///
    /// # Errors
    /// If the data cannot be read or fetched or do not fit the experiment, or there is no such device.
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

    /// A run from the start.
    ///
    /// # Errors
    /// If the experiment asks for what its length or its network do not allow.
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

    /// Which images choices between epochs are made on; none if no such choice is made.
    pub(crate) fn chosen_on(&self) -> Option<&'static str> {
        let on = if self.validation.is_some() { "validation" } else { "test" };
        self.resolved.choices().map(|_| on)
    }

    /// The checkpoints of a run folder.
    ///
    /// # Errors
    /// If the folder for them cannot be made.
    pub fn checkpoints(&self, folder: &Path) -> anyhow::Result<Checkpoints> {
        let (every, keep_last, keep_best) = self.resolved.checkpointing();
        Ok(Checkpoints::new(&folder.join(NAMES.checkpoints), self.record.clone())?
            .every(every)
            .keep_last(keep_last)
            .keep_best(keep_best))
    }
}
