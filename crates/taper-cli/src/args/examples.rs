//! The examples and notes below the help of each command.

pub const TRAIN: &str = "\
Examples:
  taper train
  taper train --method feather --sparsity 0.98 --out runs/digits-98
  taper train --model resnet20 --data cifar100 --sparsity 0.95 --threads 2
  taper train experiments/quick/feather.toml --set train.lr=0.02 --set 'prune.schedule=\"cosine\"'

The output folder receives pruned.safetensors, metrics.csv (one row per epoch), steps.jsonl, timing.csv, checkpoints/, run.json and result.json.
A folder that contains any of these is rejected without --resume or --force.";

pub const SUITE: &str = "\
Examples:
  taper suite list
  taper suite run methods --jobs 2";

pub const STUDY: &str = "\
Examples:
  taper study significance --sparsity 0.98
  taper study significance --model resnet20 --data cifar100 --sparsity 0.98 --seeds 1";

pub const SIGNIFICANCE: &str = "\
Examples:
  taper study significance --sparsity 0.98
  taper study significance --sparsity 0.98 --shares 0,0.5,0.9,1 --seeds 3 --out runs/significance

The study trains each fraction with each seed in DIR/runs. The same command continues an interrupted study; a different one needs --force, which keeps runs of the same recipe. Afterwards the steps of all fractions are timed in turn.
The output folder receives manifest.json, fates.csv (what became of pruned weights, by magnitude and age), shares.csv (accuracy, gradient positions and time of each run), significance.svg and summary.md.";

pub const WATCH: &str = "\
Examples:
  taper watch runs/quick
  taper watch runs/digits-98 --once";

pub const SCHEDULE: &str = "\
Examples:
  taper schedule plot --set prune.schedule=cosine
  taper schedule plot experiments/quick/feather.toml --svg schedule.svg";

pub const PLOT: &str = "\
Examples:
  taper schedule plot --sparsity 0.98 --set prune.schedule=cosine
  taper schedule plot experiments/quick/feather.toml --svg schedule.svg";

pub const EVAL: &str = "\
Examples:
  taper eval runs/digits-98/pruned.safetensors
  taper eval network.onnx --data photos --threads 2";

pub const PREDICT: &str = "\
Examples:
  taper predict runs/cifar/pruned.safetensors cat.png ship.jpg
  taper predict resnet50.onnx cat.jpg --classes imagenet.txt --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

Each image is cropped to the aspect ratio of the network's input, as large as possible around its centre, and then resized.";

pub const INSPECT: &str = "\
Examples:
  taper inspect runs/digits-98/pruned.safetensors
  taper inspect network.onnx --size 3x224x224 --json";

pub const BENCH: &str = "\
Examples:
  taper bench runs/digits-98/pruned.safetensors
  taper bench network.onnx --batch 64 --threads 2 --layers
  taper bench detector.onnx --size 3x320x320 --output boxes

FILE is a pruned checkpoint, a file written by `taper export`, or an ONNX file.";

pub const EXPORT: &str = "\
Examples:
  taper export runs/digits-98/pruned.safetensors --format onnx --fold-bn
  taper export runs/digits-98/pruned.safetensors --format csr --dtype f16 --out digits.csr.safetensors

Formats:
  dense    safetensors with zeros in place, for torch.load_state_dict and candle's VarBuilder
  bitmask  safetensors with one bit per weight, for compressed-tensors
  csr      safetensors in compressed sparse rows: smaller than bitmask below a density of about 1/16
  npz      a folder of matrices, for scipy.sparse.load_npz
  onnx     graph and weights, opset 17, for onnxruntime and OpenVINO";

pub const IMPORT: &str = "\
Examples:
  taper import digits.csr.safetensors --out pruned.safetensors
  taper import resnet20.pth --model resnet20 --out pruned.safetensors

FILE is any file written by `taper export`, or a PyTorch state dict. The result is a pruned checkpoint.";

pub const SHRINK: &str = "\
Examples:
  taper shrink runs/digits-98/pruned.safetensors
  taper shrink network.onnx --size 3x224x224 --out small.onnx

A channel is dead if all its weights are 0, if no layer reads it, or if all its inputs are constant. The constant of a dead channel is added to the bias of the layers that read it. Results are equal up to rounding; zeros in live channels stay.
FILE is a pruned or training checkpoint, a file written by `taper export`, or an ONNX file. The result is an ONNX file for `taper eval`, `bench`, `predict`, `inspect` and `export`, and for other runtimes. It cannot be trained or imported, because no architecture has its widths: keep the checkpoint for that.";

pub const CALIBRATE: &str = "\
Examples:
  taper calibrate runs/digits-98/pruned.safetensors --out calibrated.safetensors
  taper calibrate pruned.safetensors --data photos --batches 20 --out calibrated.safetensors

Batch norm then uses the mean and variance of training images under the final weights.";

pub const FETCH: &str = "\
Examples:
  taper fetch cifar100
  taper fetch cifar10 --json";

pub const MODELS: &str = "\
Examples:
  taper models
  taper models --json";

pub const METHODS: &str = "\
Examples:
  taper methods
  taper methods rigl";

pub const COMPLETIONS: &str = "\
Examples:
  taper completions bash
  taper completions zsh

For example, `taper completions bash > ~/.local/share/bash-completion/completions/taper` installs it for bash, if that folder exists.";

pub const MAN: &str = "\
Examples:
  taper man ~/.local/share/man/man1
  taper man man --force

Afterwards `man taper` and `man taper-train` show the pages, if the folder is a man1 below a folder of the manual path.";

pub const SUITE_LIST: &str = "\
Examples:
  taper suite list
  taper suite list --folder ~/pruning --json";

pub const SUITE_RUN: &str = "\
Examples:
  taper suite run
  taper suite run cifar100-short --only 's0.95*seed0' --jobs 2 --data DIR
  taper suite run my-suite --shard 0/4

A suite is a folder with a suite.toml and one experiment per row of its table. Each run has a folder below runs/SUITE. Several of these commands may work on one suite at the same time: a lock protects each run. Finished runs are not repeated, interrupted runs are resumed.";

pub const SUITE_STATUS: &str = "\
Examples:
  taper suite status
  taper suite status cifar100-short --only feather --data DIR

The command reads the run folders, whichever process writes them. Pass the same settings as to `taper suite run`.";

pub const SUITE_SUBMIT: &str = "\
Examples:
  taper suite submit methods --slurm --array-size 8 --time 2:00:00 --cpus 4
  taper suite submit cifar100-mid --slurm --print --data DIR -- --account=ours
  taper suite submit cifar100-mid --slurm --array-size 2 --ranks 8 --cpus 16 --data DIR

Each job of the array makes its part of the runs; one more job collects the results. Two minutes before its time limit a job writes checkpoints and is requeued. Runs interrupted by a node failure or a killed job are resumed too. The folder, the program and the data must be on a file system that all nodes share. `taper suite status` shows progress.";

pub const SUITE_REPORT: &str = "\
Examples:
  taper suite report
  taper suite report results/2026-01-31-host";
