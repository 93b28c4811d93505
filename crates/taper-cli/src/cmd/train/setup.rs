//! What a run is made of: experiment, data, network.

use crate::{
    args::Train,
    cmd::{check_named, open_data},
    error::usage,
    machine,
    spec::{Override, Resolved, load},
};
use candle_core::Device;
use serde_json::Value;
use std::path::Path;
use taper::{
    data::{Dataset, Loader, LoaderConfig},
    nn::{KernelContext, Model},
    train::{Run, checkpoint::Checkpoints},
    zoo::Architecture,
};

/// The experiment of a command line.
pub(in crate::cmd) fn resolve(args: &Train) -> anyhow::Result<Resolved> {
    Resolved::new(load(args.experiment.as_deref(), &overrides(args)?)?)
}

/// The experiment of a command line that a run would take, as far as that is known without fetching data.
pub(super) fn checked(args: &Train) -> anyhow::Result<Resolved> {
    let resolved = resolve(args)?;
    machine::device(&args.compute.device)?;
    // The digits are in the program.
    if resolved.data() == "digits" {
        let setup = Setup::of(args)?;
        setup.run()?;
        return Ok(resolved);
    }
    let full = Architecture::find(resolved.model()).map_err(usage)?;
    check_named(resolved.data(), &full.name, full.image)?;
    if let Some(shape) = Dataset::shape_of(resolved.data()) {
        resolved.normalisation(resolved.data(), shape)?;
    }
    if let Some(classes) = Dataset::classes_of(resolved.data()) {
        let network = resolved.architecture(classes.len())?;
        if let Some(start) = resolved.start() {
            let model = network.build(classes.len(), resolved.seed(), &Device::Cpu)?;
            start.load_into(model.params(), classes.len())?;
        }
    }
    Ok(resolved)
}

fn overrides(args: &Train) -> anyhow::Result<Vec<Override>> {
    let mut overrides = Override::parse_all(&args.set_shared, &args.set)?;
    let mut flag = |key: &str, value: Option<toml::Value>| {
        overrides.extend(value.map(|value| Override::new(key, value)));
    };
    let text = |value: &Option<String>| value.clone().map(toml::Value::from);
    let whole = |name: &str, value: Option<u64>| -> anyhow::Result<Option<toml::Value>> {
        let too_large = |n: u64| usage(format!("--{name} {n} is too large"));
        value.map(|n| i64::try_from(n).map(toml::Value::from).map_err(|_| too_large(n))).transpose()
    };
    flag("model", text(&args.model));
    flag("data", text(&args.data));
    flag("from", text(&args.from));
    flag("prune.method", text(&args.method));
    flag("prune.sparsity", args.sparsity.map(toml::Value::from));
    flag("train.epochs", whole("epochs", args.epochs)?);
    flag("train.batch_size", whole("batch-size", args.batch_size)?);
    flag("train.max_steps", whole("max-steps", args.max_steps)?);
    flag("seed", whole("seed", args.seed)?);
    Ok(overrides)
}

/// What a run is made of, but for what it changes.
pub(in crate::cmd) struct Setup {
    pub(in crate::cmd) resolved: Resolved,
    pub(super) device: Device,
    kernels: KernelContext,
    pub(super) architecture: Architecture,
    pub(super) data: Dataset,
    pub(in crate::cmd) record: Value,
    pub(in crate::cmd) train: Loader,
    test: Loader,
    /// Training images that are held out; `data` is without them.
    pub(super) validation: Option<Loader>,
    pub(super) model: Box<dyn Model>,
}

impl Setup {
    /// Reads the experiment and the data, and builds the network.
    pub(in crate::cmd) fn of(args: &Train) -> anyhow::Result<Self> {
        let resolved = resolve(args)?;
        let device = machine::device(&args.compute.device)?;
        let full = Architecture::find(resolved.model()).map_err(usage)?;
        let mut data = open_data(resolved.data(), &full.name, full.image, resolved.limit())?;
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
        let kernels = machine::kernels(&args.compute);
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
    pub(in crate::cmd) fn run(&self) -> anyhow::Result<Run<'_>> {
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
    pub(super) fn chosen_on(&self) -> Option<&'static str> {
        let on = if self.validation.is_some() { "validation" } else { "test" };
        self.resolved.choices().map(|_| on)
    }

    /// The checkpoints of a run folder.
    pub(in crate::cmd) fn checkpoints(&self, folder: &Path) -> anyhow::Result<Checkpoints> {
        let (every, keep_last, keep_best) = self.resolved.checkpointing();
        Ok(Checkpoints::new(&folder.join("checkpoints"), self.record.clone())?
            .every(every)
            .keep_last(keep_last)
            .keep_best(keep_best))
    }
}
