//! The command line of `taper suite`.

use clap::{Args as ClapArgs, Subcommand};
use std::{num::NonZeroUsize, path::PathBuf};
use taper_suite::Shard;

/// Run many experiments as one.
#[derive(Debug, Subcommand)]
pub enum SuiteCommand {
    /// List the suites that can be named here: those below ./experiments, and those that are shipped
    List(SuiteList),
    /// Make the runs that are not finished, write tables and a report, and judge them by their bands
    #[command(after_help = RUN_HELP)]
    Run(Box<SuiteRun>),
    /// Say how far the runs of a suite are
    #[command(after_help = STATUS_HELP)]
    Status(Box<SuiteStatus>),
    /// Submit a suite to a cluster: jobs that share its runs, and one behind them that gathers the results
    #[command(after_help = SUBMIT_HELP)]
    Submit(Box<SuiteSubmit>),
    /// Rebuild summary.md and report.html from a results folder alone
    #[command(after_help = REPORT_HELP)]
    Report(SuiteReport),
}

const RUN_HELP: &str = "\
Examples:
  taper suite run
  taper suite run cifar100-short --only 's0.95*seed0' --jobs 2 --data DIR
  taper suite run my-suite --shard 0/4

A suite is a folder with a suite.toml and the experiments of its rows. Runs are made in runs/SUITE, a folder each, and any number of these commands may work on one suite: a run belongs to who holds its lock. Finished runs are not repeated, interrupted ones go on.";

const STATUS_HELP: &str = "\
Examples:
  taper suite status
  taper suite status cifar100-short --only feather --data DIR

It reads the run folders, whoever makes them. Settings are those that the runs are made with.";

const SUBMIT_HELP: &str = "\
Examples:
  taper suite submit methods --slurm --array-size 8 --time 2:00:00 --cpus 4
  taper suite submit cifar100-mid --slurm --print --data DIR -- --account=ours
  taper suite submit cifar100-mid --slurm --array-size 2 --ranks 8 --cpus 16 --data DIR

Each job of the array makes its part of the runs. Two minutes before a time limit it writes checkpoints and is requeued; what a node's failure or a killed job leaves is gone on with as well. The folder, the program and the data have to be on a file system that all nodes share. `taper suite status` says how far the runs are.";

const REPORT_HELP: &str = "\
Examples:
  taper suite report
  taper suite report results/2026-01-31-host";

/// List the suites.
#[derive(Debug, ClapArgs)]
pub struct SuiteList {
    /// Where ./experiments is looked for
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs of a suite.
#[derive(Debug, ClapArgs)]
pub struct SuiteChoice {
    /// A folder with a suite.toml, or a name that `taper suite list` has
    #[arg(default_value = "quick")]
    pub suite: String,
    /// Only runs whose name has PATTERN in it, such as feather, 's0.9-' or 'ste*seed0'
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Number of seeds instead of the suite's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: Option<u64>,
    /// Train on this data set or folder instead of the suite's
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Device: cpu, cuda:N or metal; several, such as cuda:0,cuda:1, are taken in turn by runs at a time
    #[arg(long, value_name = "D", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Any key of the experiments, for every run, such as train.epochs=2
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where runs/, results/ and experiments/ are
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// Make the runs of a suite.
#[derive(Debug, ClapArgs)]
pub struct SuiteRun {
    /// Which runs, and with which settings
    #[command(flatten)]
    pub chosen: SuiteChoice,
    /// Take the runs that this results folder has, of this suite or another, instead of making them
    #[arg(long, value_name = "DIR")]
    pub with: Vec<PathBuf>,
    /// Where the results go; they replace none with other runs [default: results/DATE-HOST]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Runs at a time, which share the cores unless --threads says otherwise
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Threads of each run, or of each of its ranks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Processes that train each run together, over MPI; started by srun in a job of Slurm, else by mpirun
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks: NonZeroUsize,
    /// Make only the I-th of N parts of the runs, from 0, and write no results; without it, what other processes are at work on
    /// is waited for
    #[arg(long, value_name = "I/N", conflicts_with_all = ["out", "with"])]
    pub shard: Option<Shard>,
    /// List the runs with the time that they will take, by those that are finished, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Say how far a suite is.
#[derive(Debug, ClapArgs)]
pub struct SuiteStatus {
    /// Which runs, and with which settings
    #[command(flatten)]
    pub chosen: SuiteChoice,
    /// Print the runs as JSON
    #[arg(long)]
    pub json: bool,
}

/// Submit a suite to a cluster.
#[derive(Debug, ClapArgs)]
pub struct SuiteSubmit {
    /// Which runs, and with which settings
    #[command(flatten)]
    pub chosen: SuiteChoice,
    /// To Slurm
    #[arg(long, required = true)]
    pub slurm: bool,
    /// Jobs that share the runs
    #[arg(long, value_name = "N", default_value = "4")]
    pub array_size: NonZeroUsize,
    /// Partition [default: the cluster's, as with all that follow]
    #[arg(long, value_name = "P")]
    pub partition: Option<String>,
    /// Time limit of each job: minutes, H:MM:SS or D-H, more than 2 minutes
    #[arg(long, value_name = "T")]
    pub time: Option<String>,
    /// Processors of each job, which its run uses all; with --ranks, of each rank
    #[arg(long, value_name = "C")]
    pub cpus: Option<NonZeroUsize>,
    /// Processes that train each run together, over MPI, on as many nodes as Slurm takes for them
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks: NonZeroUsize,
    /// Generic resources of each job, such as gpu:1
    #[arg(long, value_name = "G")]
    pub gres: Option<String>,
    /// Print the batch script, and submit nothing
    #[arg(long)]
    pub print: bool,
    /// Further arguments of sbatch, behind --
    #[arg(last = true, value_name = "SBATCH-ARGS")]
    pub sbatch: Vec<String>,
}

/// Rebuild a report.
#[derive(Debug, ClapArgs)]
pub struct SuiteReport {
    /// A results folder [default: the newest below results/]
    pub results: Option<PathBuf>,
    /// Where results/ is
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}
