//! The command line.

mod suite;

pub use suite::{
    SuiteChoice, SuiteCommand, SuiteList, SuiteReport, SuiteRun, SuiteStatus, SuiteSubmit,
};

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;
use taper::export::{ElementType, Format};

/// Train, evaluate and inspect sparse networks.
#[derive(Debug, Parser)]
#[command(name = "taper", version, propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network sparse; without arguments, a small one on the embedded digits
    #[command(after_help = TRAIN_HELP)]
    Train(Box<Train>),
    /// Look at schedules
    #[command(subcommand)]
    Schedule(Schedule),
    /// Run many experiments as one: a matrix of rows, sparsities and seeds, to its report with pass or fail
    #[command(subcommand)]
    Suite(SuiteCommand),
    /// Train many networks to answer a question
    #[command(subcommand)]
    Study(Question),
    /// Show how far a run is, or all runs of a folder, until they are finished
    Watch(Watch),
    /// Measure a pruned checkpoint or an ONNX file on the test images
    Eval(Eval),
    /// Compile a network and measure latency, throughput and memory on random images
    #[command(after_help = BENCH_HELP)]
    Bench(Bench),
    /// Name the most probable classes of pictures
    #[command(after_help = PREDICT_HELP)]
    Predict(Predict),
    /// Estimate the statistics of a pruned checkpoint's normalisations again, from training images
    Calibrate(Calibrate),
    /// List what is kept in each layer of a pruned checkpoint or an ONNX file, and what that is worth
    Inspect(Inspect),
    /// Write a pruned checkpoint as a file for other tools
    #[command(after_help = EXPORT_HELP)]
    Export(Export),
    /// Remove dead channels: write a smaller dense network of equal results as an ONNX file
    #[command(after_help = SHRINK_HELP)]
    Shrink(Shrink),
    /// Make a pruned checkpoint of a file: of any that `export` writes, or of a PyTorch state dict
    #[command(after_help = IMPORT_HELP)]
    Import(Import),
    /// Fetch a data set into the cache
    Fetch(Fetch),
    /// List the architectures
    Models(Json),
    /// List the pruning methods, or print the parts of one
    Methods(Methods),
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const TRAIN_HELP: &str = "\
Examples:
  taper train
  taper train --method feather --sparsity 0.98 --out runs/digits-98
  taper train --model resnet20 --data cifar100 --sparsity 0.95 --threads 2
  taper train experiments/quick/feather.toml --set train.lr=0.02 --set 'prune.schedule=\"cosine\"'

The output folder holds pruned.safetensors, metrics.csv (a row an epoch), steps.jsonl, timing.csv, checkpoints/, run.json and result.json.
A folder that holds any of these already is refused without --resume or --force.";

/// Look at schedules.
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// Draw sparsity and gradient scale of an experiment over its steps, in the terminal and as SVG
    Plot(Plot),
}

/// Draw a schedule.
#[derive(Debug, ClapArgs)]
pub struct Plot {
    /// Experiment file
    pub experiment: Option<PathBuf>,
    /// Final share of weights that are zero, in [0, 1)
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub sparsity: Option<f64>,
    /// Any key of an experiment file, e.g. prune.schedule=cosine
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// As --set, and no error where nothing reads the key: for keys that several experiments share
    #[arg(long = "set-shared", value_name = "KEY=VALUE")]
    pub set_shared: Vec<String>,
    /// Steps of the run [default: those of the trace, or 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub steps: Option<u64>,
    /// What an adaptive schedule is told: the masks.csv that a run with --mask-trace has left
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// What an adaptive schedule is told instead: so large a share of the kept weights has entered over each window; with
    /// two values, the second from the middle of the run on
    #[arg(long, value_name = "SHARE", num_args = 1..=2, conflicts_with = "trace")]
    pub entered: Vec<f64>,
    /// Write the figure as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Replace the SVG that is there
    #[arg(long, requires = "svg")]
    pub force: bool,
    /// Print the values of each step as JSON instead of drawing them
    #[arg(long)]
    pub json: bool,
}

/// Train many networks to answer a question.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// Do pruned weights matter? Follows them to the end of training, and drops shares of them for good
    #[command(after_help = SIGNIFICANCE_HELP)]
    Significance(Box<Significance>),
}

const SIGNIFICANCE_HELP: &str = "\
Example:
  taper study significance --sparsity 0.98 --shares 0,0.5,0.9,1 --seeds 3 --out runs/significance

Each share is trained with each seed into DIR/runs; finished runs are not repeated, and interrupted ones go on. Steps of
all shares are then timed in turn. The same command goes on with a study; another one needs --force, which keeps runs of the
same recipe. The output folder holds manifest.json, fates.csv (what became of pruned weights, by tenth of the cut and
age), shares.csv (accuracy, gradient positions and time for each run), significance.svg and summary.md.";

/// Do pruned weights matter?
#[derive(Debug, ClapArgs)]
pub struct Significance {
    /// What to train, and how
    #[command(flatten)]
    pub train: Train,
    /// Shares φ of the pruned weights that are dropped for good, each in [0, 1]
    #[arg(
        long,
        value_name = "SHARES",
        value_delimiter = ',',
        default_value = "0,0.25,0.5,0.75,0.9,1"
    )]
    pub shares: Vec<f64>,
    /// Which weights are dropped first: smallest, longest (pruned) or random
    #[arg(long, value_name = "RULES", value_delimiter = ',', default_value = "smallest")]
    pub rules: Vec<String>,
    /// Seeds of each share, from that of the experiment on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Moments from which pruned weights are followed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub probes: u64,
    /// Steps of each share that are timed; 0 for none
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub timed_steps: u64,
}

/// Train a network sparse.
#[derive(Clone, Debug, ClapArgs)]
pub struct Train {
    /// Experiment file; flags override what is in it
    pub experiment: Option<PathBuf>,
    /// Architecture (see `taper models`)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Data set: digits, cifar10, cifar100 (or cifar100@REVISION), or a folder
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Method, such as feather, rigl or dense; `taper methods` lists them
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// Start from the weights of this pruned checkpoint; with --method finetune its zeros stay
    #[arg(long, value_name = "FILE")]
    pub from: Option<String>,
    /// Final share of weights that are zero, in [0, 1)
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub sparsity: Option<f64>,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Images in a step
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u64>,
    /// Decides initial weights, order and augmentation
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Any key of an experiment file, e.g. train.lr=0.05
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// As --set, and no error where nothing reads the key: for keys that several experiments share
    #[arg(long = "set-shared", value_name = "KEY=VALUE")]
    pub set_shared: Vec<String>,
    /// Output folder [default: runs/<model>-<data>-<method>-<sparsity>-seed<seed>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the last checkpoint in the output folder, if there is one
    #[arg(long)]
    pub resume: bool,
    /// Replace the run or study that the output folder holds, and nothing else in it
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Train for at most N steps, with schedules scaled to that length
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Write TensorBoard event files to the output folder
    #[arg(long)]
    pub tensorboard: bool,
    /// Write what each mask refresh changed to masks.csv
    #[arg(long)]
    pub mask_trace: bool,
    /// Check the experiment, print it with a value for each key as JSON, and train nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Say nothing but warnings and errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Where and on how many threads to compute
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Where to compute.
#[derive(Clone, Debug, ClapArgs)]
pub struct ComputeArgs {
    /// CPU threads; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub threads: Option<u64>,
    /// cpu, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// How layers on the CPU choose between dense and sparse kernels [default: measured]
    #[arg(long, value_name = "HOW", value_enum)]
    pub kernels: Option<Kernels>,
}

/// How layers choose between dense and sparse kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernels {
    /// Time both where that cannot change a result; the same results as rule
    Measured,
    /// Sparse up to a fixed density
    Rule,
    /// Dense; rounds otherwise than rule
    Dense,
    /// Sparse; rounds otherwise than rule
    Sparse,
}

/// Show how far runs are.
#[derive(Debug, ClapArgs)]
pub struct Watch {
    /// Folder of a run, or with folders of runs, such as runs/quick
    pub folder: PathBuf,
    /// Print once and exit
    #[arg(long, conflicts_with = "every")]
    pub once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
}

/// Measure a network.
#[derive(Debug, ClapArgs)]
pub struct Eval {
    /// The pruned.safetensors of a run, or an ONNX file
    pub checkpoint: PathBuf,
    /// What the file leaves open
    #[command(flatten)]
    pub left_open: Opening,
    /// Data set: a name or a folder [default: the one it was trained on]
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub batch_size: u64,
    /// What runs the network: compiled inference, or candle with the kernels of training [default: compiled, and candle
    /// with --kernels or on another device than cpu]
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub engine: Option<EvalEngine>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Where and on how many threads to compute
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// What an ONNX file may leave open.
#[derive(Debug, Default, ClapArgs)]
pub struct Opening {
    /// Channels, rows and columns of an image, such as 3x224x224, where an ONNX file does not fix them
    #[arg(long, value_name = "CxHxW", value_parser = size)]
    pub size: Option<[usize; 3]>,
    /// The output to compute, of an ONNX file with several
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
}

/// Three sizes, such as `3x224x224`.
fn size(text: &str) -> Result<[usize; 3], String> {
    let sizes = text.split('x').map(|size| size.parse().ok().filter(|&size| size > 0));
    let sizes = sizes.collect::<Option<Vec<usize>>>().and_then(|sizes| sizes.try_into().ok());
    sizes.ok_or_else(|| "it is not three sizes of at least 1, such as 3x224x224".into())
}

const BENCH_HELP: &str = "\
Examples:
  taper bench runs/digits/pruned.safetensors
  taper bench network.onnx --batch 64 --threads 2 --layers
  taper bench detector.onnx --size 3x320x320 --output boxes

FILE is a pruned checkpoint, a file that `taper export` writes, or an ONNX file.";

/// Measure a compiled network.
#[derive(Debug, ClapArgs)]
pub struct Bench {
    /// Pruned checkpoint, exported file or ONNX file
    pub file: PathBuf,
    /// What the file leaves open
    #[command(flatten)]
    pub left_open: Opening,
    /// Images in a run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub batch: u64,
    /// CPU threads, which share the images of a run; no more of them are used than there are images
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub threads: u64,
    /// Timed runs [default: two seconds of them, at least 21]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rounds: Option<u64>,
    /// Choose kernels by rule instead of timing them; the results are the same
    #[arg(long)]
    pub deterministic: bool,
    /// Measure each layer on one thread, too
    #[arg(long)]
    pub layers: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

const PREDICT_HELP: &str = "\
Examples:
  taper predict runs/cifar/pruned.safetensors cat.png ship.jpg
  taper predict resnet50.onnx cat.jpg --classes imagenet.txt --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

The largest part of a picture that has the proportions of the network's images, around the middle, is scaled to their size.";

/// Name classes.
#[derive(Debug, ClapArgs)]
pub struct Predict {
    /// Pruned checkpoint, exported file or ONNX file
    pub file: PathBuf,
    /// Pictures, PNG or JPEG
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// What the file leaves open
    #[command(flatten)]
    pub left_open: Opening,
    /// Classes that are shown for each picture
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub top: u64,
    /// Names of the classes, a line each [default: those of the data set that the network was trained on]
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Mean of each channel, of pixels in [0, 1] [default: as in training]
    #[arg(
        long,
        value_name = "MEANS",
        value_delimiter = ',',
        allow_negative_numbers = true,
        requires = "std"
    )]
    pub mean: Vec<f32>,
    /// Standard deviation of each channel [default: as in training]
    #[arg(
        long,
        value_name = "DEVIATIONS",
        value_delimiter = ',',
        allow_negative_numbers = true,
        requires = "mean"
    )]
    pub std: Vec<f32>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EvalEngine {
    /// Candle's tensors and the kernels of training
    Candle,
    /// Compiled inference on the CPU
    Compiled,
}

/// Estimate statistics again.
#[derive(Debug, ClapArgs)]
pub struct Calibrate {
    /// The pruned.safetensors of a run
    pub checkpoint: PathBuf,
    /// Checkpoint to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Data set: a name or a folder [default: the one it was trained on]
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Batches of training images
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub batches: u64,
    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u64).range(2..=65536))]
    pub batch_size: u64,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Where and on how many threads to compute
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// List what is kept.
#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// The pruned.safetensors of a run, or an ONNX file
    pub checkpoint: PathBuf,
    /// What the file leaves open
    #[command(flatten)]
    pub left_open: Opening,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
}

const EXPORT_HELP: &str = "\
Examples:
  taper export runs/digits/pruned.safetensors --format onnx --fold-bn
  taper export runs/digits/pruned.safetensors --format csr --dtype f16 --out digits.csr.safetensors

  dense    safetensors with zeros in place: torch.load_state_dict, candle's VarBuilder
  bitmask  safetensors with a bit for each weight: compressed-tensors
  csr      safetensors with compressed rows: smaller than bitmask below a density of about 1/16
  npz      a folder of matrices for scipy.sparse.load_npz
  onnx     graph and weights, opset 17: onnxruntime, OpenVINO";

const IMPORT_HELP: &str = "\
Examples:
  taper import digits.csr.safetensors --out pruned.safetensors
  taper import resnet20.pth --model resnet20 --out pruned.safetensors";

/// Write a checkpoint for other tools.
#[derive(Debug, ClapArgs)]
pub struct Export {
    /// The pruned.safetensors of a run, one of its checkpoints, or a file or folder that was exported
    pub checkpoint: PathBuf,
    /// What the file leaves open
    #[command(flatten)]
    pub left_open: Opening,
    /// dense, bitmask, csr, npz or onnx
    #[arg(long)]
    pub format: Format,
    /// File to write, or folder for npz [default: beside the checkpoint]
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Fold each batch norm into the convolution before it, which then has a bias
    #[arg(long)]
    pub fold_bn: bool,
    /// Type of the numbers: f32, f16 or bf16
    #[arg(long, value_name = "TYPE", default_value_t)]
    pub dtype: ElementType,
    /// For bitmask: 4-D weights as 2-D, so that small kernels take a bit a weight
    #[arg(long)]
    pub compact: bool,
    /// For onnx: weights as sparse_initializer, which onnxruntime alone reads
    #[arg(long)]
    pub sparse_initializer: bool,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Print what was written as JSON
    #[arg(long)]
    pub json: bool,
}

const SHRINK_HELP: &str = "\
Examples:
  taper shrink runs/digits/pruned.safetensors
  taper shrink network.onnx --size 3x224x224 --out small.onnx

A channel is dead if all weights that make it are 0, if nothing reads it, or if all that it is made of is constant. Its readers get its constant as part of their bias. Results are equal up to rounding, and zeros in live channels stay.

FILE is a pruned or training checkpoint, a file that `taper export` writes, or an ONNX file. The result is for `taper eval`, `bench`, `predict`, `inspect` and `export`, and for other runtimes. It cannot be trained or imported, as no architecture has its widths: keep the checkpoint for that.";

/// Remove dead channels.
#[derive(Debug, ClapArgs)]
pub struct Shrink {
    /// Pruned or training checkpoint, exported file or ONNX file
    pub file: PathBuf,
    /// What the file leaves open
    #[command(flatten)]
    pub left_open: Opening,
    /// ONNX file to write [default: beside the file, such as pruned.shrunk.onnx]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Print what was removed as JSON
    #[arg(long)]
    pub json: bool,
}

/// Make a checkpoint of a file.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// File of safetensors, ONNX or PyTorch, or a folder of .npz
    pub file: PathBuf,
    /// Checkpoint to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Architecture (see `taper models`) [default: what the file says]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Print what was read as JSON
    #[arg(long)]
    pub json: bool,
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
    /// The method whose parts are printed
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
