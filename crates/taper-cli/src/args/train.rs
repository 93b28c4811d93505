//! The arguments of commands that train networks.

use super::examples;
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

/// Sparsity schedules.
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// Plot sparsity and gradient scale of an experiment over its steps, in the terminal or as SVG
    #[command(after_help = examples::PLOT)]
    Plot(Plot),
}

/// Train many networks to answer a question.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// Do pruned weights matter? Tracks them to the end of training, and prunes fractions of them permanently
    #[command(after_help = examples::SIGNIFICANCE)]
    Significance(Box<Significance>),
}

/// Adapts the help of `taper study significance`, which shares the options of `taper train`: it has another output
/// folder and always resumes, and there is nothing to validate alone.
pub fn of_study(command: clap::Command) -> clap::Command {
    command.mut_subcommand("study", |study| {
        study.mut_subcommand("significance", |study| {
            study
                .mut_arg("out", |out| out.help("Output folder [default: runs/significance]"))
                .mut_arg("dry_run", |dry_run| dry_run.hide(true))
                .mut_arg("resume", |resume| resume.hide(true))
        })
    })
}

/// Train a network sparse.
#[derive(Clone, Debug, ClapArgs)]
pub struct Train {
    /// Experiment file; options override its keys
    pub experiment: Option<PathBuf>,
    /// Architecture (see `taper models`) [default: that of --from; else digits-cnn for the digits, and resnet20]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Data set: digits, cifar10, cifar100 (or cifar100@REVISION), or a folder [default: that of --from, else digits]
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Method, such as feather, rigl or dense; `taper methods` lists them [default: feather]
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// Start from the weights of this checkpoint, of a run or of `taper import`; with --method finetune its zeros stay
    #[arg(long, value_name = "FILE")]
    pub from: Option<String>,
    /// Final sparsity: the fraction of weights that are zero, in [0, 1) [default: 0.9]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub sparsity: Option<f64>,
    /// Number of epochs [default: 20 for the digits, else 160]
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Images per step [default: 32 for the digits, else 128]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u64>,
    /// Seed of initial weights, data order, augmentation and random masks [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Set any key of an experiment file, such as train.lr=0.05
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Like --set, but a known key without effect in this experiment is no error; for scripts that train several experiments
    #[arg(long = "set-shared", value_name = "KEY=VALUE")]
    pub set_shared: Vec<String>,
    /// Output folder [default: runs/<model>-<data>-<method>-<sparsity>-seed<seed>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Resume from the last checkpoint in the output folder, if it has one
    #[arg(long)]
    pub resume: bool,
    /// Replace the run or study in the output folder; other files in it stay
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Train for at most N steps; schedules are scaled to that length
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Write TensorBoard event files to the output folder
    #[arg(long)]
    pub tensorboard: bool,
    /// Write the changes of each mask update to masks.csv
    #[arg(long)]
    pub mask_trace: bool,
    /// Validate the experiment, print the keys that have a value as JSON, and train nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print only warnings and errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Device and threads
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Device and threads.
#[derive(Clone, Debug, ClapArgs)]
pub struct ComputeArgs {
    /// CPU threads; results do not depend on the number [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub threads: Option<u64>,
    /// cpu, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Choice between dense and sparse kernels on the CPU [default: measured]
    #[arg(long, value_name = "HOW", value_enum)]
    pub kernels: Option<Kernels>,
}

/// How layers choose between dense and sparse kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernels {
    /// Time both kernels where they give the same bits, and keep the faster one; same results as rule
    Measured,
    /// Sparse kernels below a fixed density
    Rule,
    /// Dense kernels always; rounding differs from rule
    Dense,
    /// Sparse kernels always; rounding differs from rule
    Sparse,
}

/// Plot a schedule.
#[derive(Debug, ClapArgs)]
pub struct Plot {
    /// Experiment file
    pub experiment: Option<PathBuf>,
    /// Final sparsity: the fraction of weights that are zero, in [0, 1)
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub sparsity: Option<f64>,
    /// Any key of an experiment file, e.g. prune.schedule=cosine
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Like --set, but a key that this experiment does not use is no error; for scripts that train several experiments
    #[arg(long = "set-shared", value_name = "KEY=VALUE")]
    pub set_shared: Vec<String>,
    /// Steps of the run [default: those of the trace, or 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub steps: Option<u64>,
    /// Read the mask churn for an adaptive schedule from the masks.csv of a run with --mask-trace
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Simulated mask churn for an adaptive schedule: the fraction of kept weights that are new, per window; a second
    /// value replaces the first from the middle of the run on
    #[arg(long, value_name = "FRACTION", num_args = 1..=2, conflicts_with = "trace")]
    pub entered: Vec<f64>,
    /// Write the figure as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Overwrite an existing SVG
    #[arg(long, requires = "svg")]
    pub force: bool,
    /// Print the values of each step as JSON instead of a plot
    #[arg(long)]
    pub json: bool,
}

/// Do pruned weights matter?
#[derive(Debug, ClapArgs)]
pub struct Significance {
    /// The experiment
    #[command(flatten)]
    pub train: Train,
    /// Fractions φ of pruned weights that are pruned permanently, each in [0, 1]
    #[arg(
        long,
        value_name = "FRACTIONS",
        value_delimiter = ',',
        default_value = "0,0.25,0.5,0.75,0.9,1"
    )]
    pub shares: Vec<f64>,
    /// Which weights are pruned permanently first: smallest, longest (pruned for the longest time) or random
    #[arg(long, value_name = "RULES", value_delimiter = ',', default_value = "smallest")]
    pub rules: Vec<String>,
    /// Number of seeds per fraction, counted from the seed of the experiment
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Number of steps from which pruned weights are tracked to the end
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub probes: u64,
    /// Timed steps per fraction; 0 for no timing
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub timed_steps: u64,
}

/// Show the progress of runs.
#[derive(Debug, ClapArgs)]
pub struct Watch {
    /// Folder of a run, or of several runs, such as runs/quick
    pub folder: PathBuf,
    /// Print once and exit
    #[arg(long, conflicts_with = "every")]
    pub once: bool,
    /// Seconds between updates
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
}
