//! One file for each command.

mod bench;
mod calibrate;
mod difference;
mod eval;
mod export;
mod fetch;
mod import;
mod inspect;
mod methods;
mod models;
mod predict;
mod schedule;
mod study;
mod train;
mod watch;

use crate::{
    args::{Args, Command, Schedule, Study},
    network, source,
};
use anyhow::Context;
use clap::CommandFactory;
use std::{path::Path, process::ExitCode};
use taper::{
    data::{Dataset, ImageShape, Normalisation, OpenOptions},
    nn::Model,
    train::checkpoint::PrunedCheckpoint,
    zoo::Architecture,
};

/// Runs a command.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Train(args) => return train::run(&args),
        Command::Schedule(Schedule::Plot(args)) => schedule::plot(&args)?,
        Command::Study(Study::Significance(args)) => return study::significance(&args),
        Command::Watch(args) => watch::run(&args)?,
        Command::Eval(args) => eval::run(&args)?,
        Command::Bench(args) => bench::run(&args)?,
        Command::Predict(args) => predict::run(&args)?,
        Command::Calibrate(args) => calibrate::run(&args)?,
        Command::Export(args) => export::run(&args)?,
        Command::Import(args) => import::run(&args)?,
        Command::Inspect(args) => inspect::run(&args)?,
        Command::Fetch(args) => fetch::run(&args)?,
        Command::Models(args) => models::run(&args)?,
        Command::Methods(args) => methods::run(&args)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "taper", &mut script);
            crate::term::print(String::from_utf8_lossy(&script).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A pruned checkpoint with its network.
struct Pruned {
    checkpoint: PrunedCheckpoint,
    architecture: Architecture,
    model: Box<dyn Model>,
}

impl Pruned {
    fn load(path: &Path, device: &candle_core::Device) -> anyhow::Result<Self> {
        let checkpoint = PrunedCheckpoint::load(path)?;
        let architecture = Architecture::find(&checkpoint.architecture)
            .with_context(|| format!("checkpoint {}", path.display()))?;
        let model = architecture.build(checkpoint.classes, 0, device)?;
        checkpoint.load_into(model.params(), path)?;
        Ok(Self { checkpoint, architecture, model })
    }
}

impl Pruned {
    /// The data set that it was trained on, or another with as many classes; and its normalisation.
    fn data(&self, name: Option<&str>, path: &Path) -> anyhow::Result<(Dataset, Normalisation)> {
        let recipe = &self.checkpoint.recipe;
        let data = match name {
            Some(name) => open_data(name, &self.architecture, None)?,
            None => {
                let source = source::of_checkpoint(recipe, path)?.with_context(|| {
                    format!("checkpoint {}: its recipe does not say its data set", path.display())
                })?;
                let data = open_data(&source, &self.architecture, None)?;
                let limit = recipe["train"]["limit"].as_u64().filter(|&limit| limit > 0);
                let seen = match limit.map(usize::try_from) {
                    Some(limit) => open_data(&source, &self.architecture, Some(limit?))?,
                    None => data.clone(),
                };
                source::expect_same_images(recipe, &seen, path)?;
                data
            }
        };
        if data.classes.len() != self.checkpoint.classes {
            return Err(crate::error::usage(format!(
                "checkpoint {} has {} classes, and {} has {}; pass the data set it was trained on with --data",
                path.display(),
                self.checkpoint.classes,
                data.name,
                data.classes.len()
            )));
        }
        // What was imported may not say it; then it is the data set's own.
        let said = network::normalisation(recipe)?;
        let normalisation = said.unwrap_or_else(|| data.normalisation.clone());
        Ok((data, normalisation))
    }
}

/// Refuses to write over what is there, unless that was asked for; `flag` names the file.
fn refuse_existing(flag: &str, out: &Path, force: bool) -> anyhow::Result<()> {
    if force || out.symlink_metadata().is_err() {
        return Ok(());
    }
    let out = out.display();
    Err(crate::error::usage(format!("{out} exists already; pass another {flag}, or --force")))
}

/// Opens a data set and checks that its images fit the architecture; before it is fetched, where that can be told.
fn open_data(
    name: &str,
    architecture: &Architecture,
    limit: Option<usize>,
) -> anyhow::Result<Dataset> {
    if let Some(shape) = Dataset::shape_of(name) {
        check_shape(name, shape, architecture)?;
    }
    let progress = crate::term::FetchBar::default();
    let options = OpenOptions { progress: Some(&progress), limit, ..OpenOptions::default() };
    let data = Dataset::open(name, &options).map_err(|error| match error {
        taper::data::DataError::Unknown { .. } => crate::error::usage(error),
        other => other.into(),
    })?;
    check_shape(&data.name, data.shape(), architecture)?;
    Ok(data)
}

fn check_shape(name: &str, shape: ImageShape, architecture: &Architecture) -> anyhow::Result<()> {
    let found = [shape.channels, shape.height, shape.width];
    if found == architecture.image {
        return Ok(());
    }
    Err(crate::error::usage(format!(
        "model {} takes images of {}, and those of {name} are {}; choose another model or data set",
        architecture.name,
        size(architecture.image),
        size(found)
    )))
}

fn size([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}
