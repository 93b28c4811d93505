//! The arguments of commands that read one network.

use super::ComputeArgs;
use clap::Args as ClapArgs;
use std::path::PathBuf;
use taper::export::{ElementType, Format};

/// Measure accuracy.
#[derive(Debug, ClapArgs)]
pub struct Eval {
    /// The pruned.safetensors of a run, an exported file or folder, or an ONNX file
    pub checkpoint: PathBuf,
    /// Input size and output of an ONNX file
    #[command(flatten)]
    pub left_open: Opening,
    /// Data set: a name or a folder [default: that of the training run]
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub batch_size: u64,
    /// Engine: compiled inference, or candle with the training kernels [default: compiled; candle with --kernels or on
    /// another device than cpu]
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub engine: Option<EvalEngine>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Device and threads
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// What an ONNX file may leave open: the size of its input, and one of several outputs.
#[derive(Debug, Default, ClapArgs)]
pub struct Opening {
    /// Channels, height and width of an image, such as 3x224x224, if the ONNX file does not specify them
    #[arg(long, value_name = "CxHxW", value_parser = size)]
    pub size: Option<[usize; 3]>,
    /// Output to compute, if the ONNX file has several
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
}

/// Three sizes, such as `3x224x224`.
fn size(text: &str) -> Result<[usize; 3], String> {
    let sizes = text.split('x').map(|size| size.parse().ok().filter(|&size| size > 0));
    let sizes = sizes.collect::<Option<Vec<usize>>>().and_then(|sizes| sizes.try_into().ok());
    sizes.ok_or_else(|| "it is not three sizes of at least 1, such as 3x224x224".into())
}

/// Measure compiled inference.
#[derive(Debug, ClapArgs)]
pub struct Bench {
    /// Pruned checkpoint, exported file or ONNX file
    pub file: PathBuf,
    /// Input size and output of an ONNX file
    #[command(flatten)]
    pub left_open: Opening,
    /// Images per run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub batch: u64,
    /// CPU threads; they share the images of a run, so at most one per image is used
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub threads: u64,
    /// Timed runs [default: as many as take two seconds, at least 21]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rounds: Option<u64>,
    /// Choose kernels by rule, not by timing: each run then uses the same kernels. Results are equal
    #[arg(long)]
    pub deterministic: bool,
    /// Also measure each layer, on one thread
    #[arg(long)]
    pub layers: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Classify images.
#[derive(Debug, ClapArgs)]
pub struct Predict {
    /// Pruned checkpoint, exported file or ONNX file
    pub file: PathBuf,
    /// PNG or JPEG files
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Input size and output of an ONNX file
    #[command(flatten)]
    pub left_open: Opening,
    /// Number of classes to print for each image
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub top: u64,
    /// File with the name of one class per line [default: the classes of the training data]
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Mean of each channel, for pixels in [0, 1] [default: as in training]
    #[arg(
        long,
        value_name = "MEANS",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "std"
    )]
    pub mean: Vec<f32>,
    /// Standard deviation of each channel [default: as in training]
    #[arg(
        long,
        value_name = "DEVIATIONS",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "mean"
    )]
    pub std: Vec<f32>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Engine of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EvalEngine {
    /// Candle, with the training kernels
    Candle,
    /// Compiled inference on the CPU
    Compiled,
}

/// Re-estimate batch-norm statistics.
#[derive(Debug, ClapArgs)]
pub struct Calibrate {
    /// The pruned.safetensors of a run
    pub checkpoint: PathBuf,
    /// Checkpoint to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Data set: a name or a folder [default: that of the training run]
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,
    /// Number of batches of training images
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub batches: u64,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u64).range(2..=65536))]
    pub batch_size: u64,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// Device and threads
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// List sparsity and multiplications of each layer.
#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// The pruned.safetensors of a run, an exported file or folder, or an ONNX file
    pub checkpoint: PathBuf,
    /// Input size and output of an ONNX file
    #[command(flatten)]
    pub left_open: Opening,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
}

/// Write a checkpoint for other tools.
#[derive(Debug, ClapArgs)]
pub struct Export {
    /// The pruned.safetensors of a run, a training checkpoint, an exported file or folder, or an ONNX file
    pub checkpoint: PathBuf,
    /// Input size and output of an ONNX file
    #[command(flatten)]
    pub left_open: Opening,
    /// dense, bitmask, csr, npz or onnx
    #[arg(long)]
    pub format: Format,
    /// File to write, or folder for npz [default: in the folder of the checkpoint]
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Fold each batch norm into the convolution before it, which then has a bias
    #[arg(long)]
    pub fold_bn: bool,
    /// Type of the weights: f32, f16 or bf16
    #[arg(long, value_name = "TYPE", default_value_t)]
    pub dtype: ElementType,
    /// For bitmask: store 4-D weights as 2-D, with one bit per weight also for small kernels
    #[arg(long)]
    pub compact: bool,
    /// For onnx: store weights as sparse_initializer, which only onnxruntime reads
    #[arg(long)]
    pub sparse_initializer: bool,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Remove dead channels.
#[derive(Debug, ClapArgs)]
pub struct Shrink {
    /// Pruned or training checkpoint, exported file or ONNX file
    pub file: PathBuf,
    /// Input size and output of an ONNX file
    #[command(flatten)]
    pub left_open: Opening,
    /// ONNX file to write [default: in the folder of FILE, such as pruned.shrunk.onnx]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// Print the removed channels as JSON
    #[arg(long)]
    pub json: bool,
}

/// Read a network of another tool.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// Safetensors, ONNX or PyTorch file, or a folder of .npz files
    pub file: PathBuf,
    /// Checkpoint to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Architecture (see `taper models`) [default: as recorded in the file]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}
