//! The commands of `taper`, one file each.

mod bench;
mod calibrate;
mod eval;
mod existing;
mod export;
mod fetch;
mod images;
mod import;
mod inspect;
mod man;
mod methods;
mod models;
mod predict;
mod pruned;
mod schedule;
mod shrink;
mod study;
mod suite;
mod train;
mod watch;

use crate::args::{Args, Command, Question, Schedule};
use existing::{refuse_existing, refuse_input};
use images::Trained;
use pruned::Pruned;
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
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Args::grouped(), "taper", &mut script);
            crate::term::print(String::from_utf8_lossy(&script).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
