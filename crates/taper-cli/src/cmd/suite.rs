//! The command `taper suite`.

mod list;
mod order;
mod progress;
mod report;
mod run;
mod status;
mod submit;

use crate::args::SuiteCommand;
use std::process::ExitCode;
use taper_host::Exit;

/// Runs a subcommand.
pub fn run(command: &SuiteCommand) -> anyhow::Result<ExitCode> {
    match command {
        SuiteCommand::List(args) => list::run(args)?,
        SuiteCommand::Run(args) => return run::run(args),
        SuiteCommand::Status(args) => status::run(args)?,
        SuiteCommand::Submit(args) => submit::run(args)?,
        SuiteCommand::Report(args) => return report::run(args),
    }
    Ok(Exit::Done.into())
}
