//! `cargo xtask`: what one runs around the library: the benchmark suites, their report, all checks, the data.
//!
//! It orchestrates: `taper` itself is run as a release binary, so this program compiles in seconds and
//! measures what users run.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "only draws and prints")]

mod bands;
mod bench;
mod cells;
mod cmd;
mod collect;
mod date;
mod estimate;
mod figure;
mod gain;
mod page;
mod place;
mod progress;
mod provenance;
mod relative;
mod results;
mod runner;
mod suite;
mod summary;
mod tables;
mod taken;
mod taper;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use taper_host::Exit;

/// Tasks of the taper workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Args {
    /// The repository to work on; for tests
    #[arg(long, hide = true, global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a benchmark suite, compare it with its bands, write tables and a report
    Reproduce(cmd::reproduce::Args),
    /// Rebuild summary.md and report.html from a results folder alone
    Report(cmd::report::Args),
    /// Measure speed, side by side with PyTorch if asked
    Bench(cmd::bench::Args),
    /// Run all checks and tests
    Test(cmd::test::Args),
    /// Fetch data sets into the cache
    Fetch(cmd::fetch::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let root = args.root.unwrap_or_else(taper::repository);
    let outcome = match args.command {
        Command::Reproduce(args) => cmd::reproduce::run(&root, &args),
        Command::Report(args) => cmd::report::run(&root, &args),
        Command::Bench(args) => cmd::bench::run(&root, &args),
        Command::Test(args) => cmd::test::run(&root, &args),
        Command::Fetch(args) => cmd::fetch::run(&root, &args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Exit::of(error.as_ref()).into()
    })
}
