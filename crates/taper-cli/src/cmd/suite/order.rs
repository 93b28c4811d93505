//! Builds the order of a suite and the program for its runs from the command line.

use crate::{args::SuiteChoice, error::usage};
use anyhow::Context;
use std::{num::NonZeroUsize, path::PathBuf};
use taper_experiment::BUILT_FROM;
use taper_suite::{AskedBy, ImageSource, Order, Overrides, Program, find};

/// Environment variable with the path of a program that replaces this one for the runs.
const OVERRIDE: &str = "TAPER_BIN";

/// The order of a command line.
pub fn order(chosen: &SuiteChoice) -> anyhow::Result<Order> {
    let folder = std::path::absolute(&chosen.folder)?;
    if !folder.is_dir() {
        return Err(usage(format!("--folder {} is not a folder", folder.display())));
    }
    let mut suite = find(&chosen.suite, &folder)?;
    suite.seeds = chosen.seeds.unwrap_or(suite.seeds);
    // Devices of one kind compute the same numbers: only the kind is part of a run.
    let mut kinds: Vec<&str> =
        chosen.device.iter().map(|device| device.split(':').next().unwrap_or(device)).collect();
    kinds.dedup();
    if let [first, other, ..] = kinds[..] {
        return Err(usage(format!(
            "--device has {first} and {other}, but the runs of a suite use devices of one kind; leave one out"
        )));
    }
    let kind = kinds.first();
    let overrides = Overrides {
        data: chosen.data.as_deref().map(ImageSource::of).transpose()?,
        device: kind.map(|kind| (*kind).to_owned()),
        set: chosen.set.clone(),
    };
    let by = AskedBy {
        command: command_line(
            std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()),
        ),
        commit: BUILT_FROM.commit.map(str::to_owned),
        dirty: BUILT_FROM.is_dirty.unwrap_or(false),
        rustc: BUILT_FROM.rustc.map(str::to_owned),
    };
    Ok(Order {
        only: chosen.only.clone().unwrap_or_default(),
        overrides,
        devices: chosen.device.clone(),
        by,
        ..Order::new(suite, &folder)
    })
}

/// This program; it makes each run in a separate process.
pub fn launcher(
    order: &Order,
    threads: Option<usize>,
    ranks: NonZeroUsize,
) -> anyhow::Result<Program> {
    let path = match std::env::var_os(OVERRIDE).map(PathBuf::from) {
        Some(path) => {
            let path = std::path::absolute(&path)?;
            anyhow::ensure!(
                path.is_file(),
                "{OVERRIDE} is {}, which is not a file",
                path.display()
            );
            path
        }
        None if ranks.get() > 1 && !cfg!(feature = "mpi") => {
            return Err(usage(
                "--ranks needs MPI, but this taper was built without it; build taper-cli with --features mpi",
            ));
        }
        None => std::env::current_exe().context("cannot find the path of this program")?,
    };
    let device = order.devices.first().cloned();
    Ok(Program { path, folder: order.folder.clone(), threads, device, ranks })
}

/// The command as typed, without `--folder`, which does not affect the runs.
fn command_line(mut args: impl Iterator<Item = String>) -> String {
    let mut words = vec!["taper".to_owned()];
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--folder" => drop(args.next()),
            _ if arg.starts_with("--folder=") => {}
            _ if arg.contains([' ', '*', '\'']) => words.push(format!("{arg:?}")),
            _ => words.push(arg),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_recorded_as_typed() {
        let args = ["suite", "run", "--folder", "/x", "quick", "--only", "ste*seed0", "--folder=y"];
        let line = command_line(args.into_iter().map(str::to_owned));
        assert_eq!(line, "taper suite run quick --only \"ste*seed0\"");
    }
}
