//! `cargo xtask reproduce`: builds `taper` and runs `taper suite run`, or runs the suite `speed`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use taper_host::{Exit, Usage};

use crate::bench::{Peer, torch_python};
use crate::cmd::bench;
use crate::taper;

/// The suite without a folder: it compares speed by `cargo xtask bench`.
const SPEED: &str = "speed";

/// Printed after the list of arguments.
pub(crate) const HELP: &str = "\
Examples:
  cargo xtask reproduce
  cargo xtask reproduce cifar100-short --only 's0.95*seed0' --jobs 2
  cargo xtask reproduce speed

`cargo xtask reproduce SUITE` builds taper for the device and runs `taper suite run SUITE --folder REPOSITORY`. The suite \
`speed` measures the speed of training relative to PyTorch; its options are --only, --threads, --out and --dry-run.";

/// Arguments of `reproduce`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A suite (see `taper suite list`) or `speed`, then options of `taper suite run` (listed by SUITE --help)
    /// [default: quick]
    #[arg(value_name = "SUITE|ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Runs a suite by `taper suite run`, or the suite `speed`.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    if args.args.first().is_some_and(|suite| suite == SPEED) {
        return speed(root, &args.args[1..]);
    }
    let taper = taper::build(root, device(&args.args).as_deref())?;
    let words = ["suite", "run", "--folder"].map(OsString::from);
    taper::hand_over(&taper, words.into_iter().chain([root.into()]).chain(args.args.clone()))
}

/// The device that the program is built for.
fn device(args: &[OsString]) -> Option<String> {
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    while let Some(word) = words.next() {
        match word.split_once('=') {
            _ if word == "--device" => return words.next().map(str::to_owned),
            Some(("--device", device)) => return Some(device.to_owned()),
            _ => {}
        }
    }
    None
}

/// Arguments of the suite `speed`.
#[derive(Parser)]
#[command(name = "cargo xtask reproduce speed", bin_name = "cargo xtask reproduce speed")]
struct Speed {
    /// Only rows with PATTERN in them, such as zoo, 'live*98' or 'step: dense'
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// CPU threads of both sides
    #[arg(long, value_name = "N", default_value_t = bench::THREADS, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// Where to write [default: results/DATE-HOST-bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only list the comparisons
    #[arg(long)]
    dry_run: bool,
}

/// Measures the speed relative to PyTorch, and compares it with the floors.
fn speed(root: &Path, args: &[OsString]) -> Result<ExitCode> {
    let words = std::iter::once(OsString::new()).chain(args.iter().cloned());
    let args = match Speed::try_parse_from(words) {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => bail!(Usage::new(format!(
            "the suite '{SPEED}' has only the options --only, --threads, --out and --dry-run: {}",
            error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ")
        ))),
    };
    let mut bench = bench::Args {
        suites: Vec::new(),
        peers: Vec::new(),
        python: PathBuf::new(),
        profile: false,
        threads: args.threads,
        rounds: bench::ROUNDS,
        only: args.only,
        out: args.out,
    };
    let cells = bench::cells(root, &bench)?;
    if args.dry_run {
        cells.iter().for_each(|cell| println!("{cell}"));
        return Ok(Exit::Done.into());
    }
    match torch_python()? {
        Some(python) => {
            eprintln!("using PyTorch of {}", python.display());
            (bench.peers, bench.python) = (vec![Peer::Torch], python);
        }
        None => eprintln!(
            "no ratios: no Python with torch and safetensors was found; set TAPER_PYTHON to one"
        ),
    }
    bench::run(root, &bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_found_among_the_arguments() {
        let of = |words: &[&str]| device(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["quick", "--device", "cuda:0,cuda:1"]).as_deref(), Some("cuda:0,cuda:1"));
        assert_eq!(of(&["--device=metal"]).as_deref(), Some("metal"));
        assert_eq!(of(&["quick", "--set", "device=x"]), None);
    }
}
