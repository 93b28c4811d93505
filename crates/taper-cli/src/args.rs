//! The command line.

mod examples;
mod groups;
mod network;
mod suite;
mod train;

pub use network::{
    Bench, Calibrate, Eval, EvalEngine, Export, Import, Inspect, Opening, Predict, Shrink,
};
pub use suite::{
    SuiteChoice, SuiteCommand, SuiteList, SuiteReport, SuiteRun, SuiteStatus, SuiteSubmit,
};
pub use train::{ComputeArgs, Kernels, Plot, Question, Schedule, Significance, Train, Watch};

use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;

/// Train, evaluate and deploy sparse neural networks.
#[derive(Debug, Parser)]
#[command(name = "taper", version, propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    /// If they are invalid. Requests for help and for the version are errors as well, as in clap.
    pub fn read() -> Result<Self, clap::Error> {
        let mut command = Self::grouped();
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// The whole command line as a value; its help lists the commands in groups.
    pub fn grouped() -> clap::Command {
        groups::in_groups(train::of_study(Self::command()))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a sparse network; by default a small one, in seconds
    #[command(after_help = examples::TRAIN)]
    Train(Box<Train>),
    /// Run many experiments: a table of methods, sparsities and seeds
    #[command(subcommand, after_help = examples::SUITE)]
    Suite(SuiteCommand),
    /// Measure how accuracy depends on pruned weights
    #[command(subcommand, after_help = examples::STUDY)]
    Study(Question),
    /// Show the progress of a run, or of all runs in a folder
    #[command(after_help = examples::WATCH)]
    Watch(Watch),
    /// Plot the sparsity schedule of an experiment
    #[command(subcommand, after_help = examples::SCHEDULE)]
    Schedule(Schedule),
    /// Measure accuracy on the test images
    #[command(after_help = examples::EVAL)]
    Eval(Eval),
    /// Classify images
    #[command(after_help = examples::PREDICT)]
    Predict(Predict),
    /// List sparsity and multiplications of each layer
    #[command(after_help = examples::INSPECT)]
    Inspect(Inspect),
    /// Measure latency, throughput and memory of compiled inference
    #[command(after_help = examples::BENCH)]
    Bench(Bench),
    /// Write a network for other tools: ONNX, safetensors, .npz
    #[command(after_help = examples::EXPORT)]
    Export(Export),
    /// Read a network of PyTorch, ONNX or safetensors
    #[command(after_help = examples::IMPORT)]
    Import(Import),
    /// Remove dead channels: write an equal, smaller dense network
    #[command(after_help = examples::SHRINK)]
    Shrink(Shrink),
    /// Re-estimate batch-norm statistics
    #[command(after_help = examples::CALIBRATE)]
    Calibrate(Calibrate),
    /// Download a data set into the cache
    #[command(after_help = examples::FETCH)]
    Fetch(Fetch),
    /// List the architectures
    #[command(after_help = examples::MODELS)]
    Models(Json),
    /// List the pruning methods, or the keys of one
    #[command(after_help = examples::METHODS)]
    Methods(Methods),
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Completions),
    /// Write manual pages, one for each command
    #[command(after_help = examples::MAN)]
    Man(Man),
}

/// Fetch a data set.
#[derive(Debug, ClapArgs)]
pub struct Fetch {
    /// cifar10, cifar100 (or cifar100@REVISION) or digits
    pub dataset: String,
    /// Print the files as JSON
    #[arg(long)]
    pub json: bool,
}

/// The pruning methods.
#[derive(Debug, ClapArgs)]
pub struct Methods {
    /// Print the keys of this method
    pub name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A list.
#[derive(Debug, ClapArgs)]
pub struct Json {
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

/// Print a completion script.
#[derive(Debug, ClapArgs)]
pub struct Completions {
    /// Shell
    pub shell: clap_complete::Shell,
}

/// Write manual pages.
#[derive(Debug, ClapArgs)]
pub struct Man {
    /// Folder for taper.1, taper-train.1 and the others; created if it does not exist
    pub folder: PathBuf,
    /// Overwrite manual pages that exist
    #[arg(long)]
    pub force: bool,
}
