//! `cargo xtask`: benchmark suites and their report, all checks and tests, and data sets.
//!
//! It runs `taper` as a release binary. So this program compiles in seconds, and benchmarks measure the program that
//! users run.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "only measures and prints")]

mod bench;
mod cmd;
mod copied;
mod figure;
mod provenance;
mod taper;

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
    /// Build taper and run a suite: train its runs, write tables and a report, check them against their bands
    #[command(after_help = cmd::reproduce::HELP)]
    Reproduce(cmd::reproduce::Args),
    /// Rebuild summary.md and report.html from a results folder
    Report(cmd::report::Args),
    /// Measure speed, optionally compared with PyTorch, onnxruntime or OpenVINO
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
