//! The commands of `taper`, one file each.

mod bench;
mod calibrate;
mod completions;
mod eval;
mod export;
mod fetch;
mod import;
mod inspect;
mod man;
mod methods;
mod models;
mod predict;
mod schedule;
mod shrink;
mod study;
mod suite;
mod train;
mod watch;

use crate::args::{Command, Question, Schedule};
use std::process::ExitCode;

/// Runs a command.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Train(args) => return train::run(&args),
        Command::Schedule(Schedule::Plot(args)) => schedule::plot(&args)?,
        Command::Suite(command) => return suite::run(&command),
        Command::Study(Question::Significance(args)) => return study::significance(&args),
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
        Command::Man(args) => man::run(&args)?,
        Command::Completions(args) => completions::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
