//! One file for each command.

mod bench;
mod calibrate;
mod difference;
mod eval;
mod export;
mod fetch;
mod images;
mod import;
mod inspect;
mod methods;
mod models;
mod predict;
mod schedule;
mod shrink;
mod study;
mod train;
mod watch;

use crate::args::{Args, Command, Schedule, Study};
use anyhow::Context;
use clap::CommandFactory;
use images::{Trained, open_data};
use std::{path::Path, process::ExitCode};
use taper::{
    data::{Dataset, Normalisation},
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
        Command::Shrink(args) => shrink::run(&args)?,
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
        let (Architecture { name: model, image, .. }, checkpoint) =
            (&self.architecture, &self.checkpoint);
        let (classes, recipe) = (checkpoint.classes, &checkpoint.recipe);
        Trained { path, model, image: *image, classes, recipe }.data(name)
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
