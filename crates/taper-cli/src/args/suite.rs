//! The command line of `taper suite`.

use super::examples;
use clap::{Args as ClapArgs, Subcommand};
use std::{num::NonZeroUsize, path::PathBuf};
use taper_suite::Shard;

/// Run many experiments as one.
#[derive(Debug, Subcommand)]
pub enum SuiteCommand {
    /// List the suites: those below ./experiments, and those included in the program
    #[command(after_help = examples::SUITE_LIST)]
    List(SuiteList),
    /// Train all unfinished runs, write tables and a report, and compare them with the expected accuracy
    #[command(after_help = examples::SUITE_RUN)]
    Run(Box<SuiteRun>),
    /// Show the progress of the runs of a suite
    #[command(after_help = examples::SUITE_STATUS)]
    Status(Box<SuiteStatus>),
    /// Submit a suite to a Slurm cluster, as an array of jobs and one job that collects the results
    #[command(after_help = examples::SUITE_SUBMIT)]
    Submit(Box<SuiteSubmit>),
    /// Write summary.md and report.html again, from the other files of a results folder
    #[command(after_help = examples::SUITE_REPORT)]
    Report(SuiteReport),
}

/// List the suites.
#[derive(Debug, ClapArgs)]
pub struct SuiteList {
    /// Folder that contains experiments/
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs of a suite.
#[derive(Debug, ClapArgs)]
pub struct SuiteChoice {
    /// A folder with a suite.toml, or a name from `taper suite list`
    #[arg(default_value = "quick")]
    pub suite: String,
    /// Only runs with PATTERN in their name, such as feather, 's0.9-' or 'ste*seed0'; a whole name chooses only that run
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Number of seeds [default: as in the suite]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: Option<u64>,
    /// Data set or folder [default: as in the suite]
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Device: cpu, cuda:N or metal; with several, such as cuda:0,cuda:1, simultaneous runs alternate between them
    #[arg(long, value_name = "D", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Set a key of the experiment for every run, such as train.epochs=2
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Folder of runs/, results/ and experiments/
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// Make the runs of a suite.
#[derive(Debug, ClapArgs)]
pub struct SuiteRun {
    /// Which runs, and with which settings
    #[command(flatten)]
    pub chosen: SuiteChoice,
    /// Reuse the runs of this results folder, of this suite or another, instead of training them
    #[arg(long, value_name = "DIR")]
    pub with: Vec<PathBuf>,
    /// Results folder; results of other runs are never overwritten [default: results/DATE-HOST]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Simultaneous runs; they share the cores unless --threads is given
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Threads per run, or per rank with --ranks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Processes per run, over MPI; started by srun in a Slurm job, by mpirun elsewhere
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks: NonZeroUsize,
    /// Train only part I of N of the runs, counted from 0, and write no results; without this option, the command waits
    /// for runs of other processes
    #[arg(long, value_name = "I/N", conflicts_with_all = ["out", "with"])]
    pub shard: Option<Shard>,
    /// List the runs and their estimated time, and train nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Show the progress of a suite.
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
    /// Submit to Slurm, the only supported scheduler
    #[arg(long, required = true)]
    pub slurm: bool,
    /// Number of jobs that share the runs
    #[arg(long, value_name = "N", default_value = "4")]
    pub array_size: NonZeroUsize,
    /// Partition [default: that of the cluster; the same holds for the options below]
    #[arg(long, value_name = "P")]
    pub partition: Option<String>,
    /// Time limit of each job: minutes, H:MM:SS or D-H, more than 2 minutes
    #[arg(long, value_name = "T")]
    pub time: Option<String>,
    /// CPU cores per job, all used by its run; per rank with --ranks
    #[arg(long, value_name = "C")]
    pub cpus: Option<NonZeroUsize>,
    /// Processes per run, over MPI, on nodes chosen by Slurm
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks: NonZeroUsize,
    /// Generic resources (gres) per job, such as gpu:1
    #[arg(long, value_name = "G")]
    pub gres: Option<String>,
    /// Print the batch script, and submit nothing
    #[arg(long)]
    pub print: bool,
    /// Further arguments of sbatch, after --
    #[arg(last = true, value_name = "SBATCH-ARGS")]
    pub sbatch: Vec<String>,
}

/// Rebuild a report.
#[derive(Debug, ClapArgs)]
pub struct SuiteReport {
    /// A results folder [default: the newest below results/]
    pub results: Option<PathBuf>,
    /// Folder of results/
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}
