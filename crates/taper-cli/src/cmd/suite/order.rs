//! What a command line asks of a suite, and who makes its runs.

use crate::{args::SuiteChoice, error::usage};
use anyhow::Context;
use std::{num::NonZeroUsize, path::PathBuf};
use taper_experiment::BUILT_FROM;
use taper_suite::{AskedBy, ImageSource, Order, Overrides, Program, find};

/// Names a program that makes the runs, instead of this one.
const OVERRIDE: &str = "TAPER_BIN";

/// What is asked for.
pub fn order(chosen: &SuiteChoice) -> anyhow::Result<Order> {
    let folder = std::path::absolute(&chosen.folder)?;
    if !folder.is_dir() {
        return Err(usage(format!("--folder {} is no folder", folder.display())));
    }
    let mut suite = find(&chosen.suite, &folder)?;
    suite.seeds = chosen.seeds.unwrap_or(suite.seeds);
    // Which of several of a kind computes changes no number.
    let kind = chosen.device.first().map(|device| device.split(':').next().unwrap_or(device));
    let overrides = Overrides {
        data: chosen.data.as_deref().map(ImageSource::of).transpose()?,
        device: kind.map(str::to_owned),
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

/// This program, which makes each run in a process of its own.
pub fn launcher(
    order: &Order,
    threads: Option<usize>,
    ranks: NonZeroUsize,
) -> anyhow::Result<Program> {
    let path = match std::env::var_os(OVERRIDE).map(PathBuf::from) {
        Some(path) => {
            let path = std::path::absolute(&path)?;
            anyhow::ensure!(path.is_file(), "{OVERRIDE} names no file: {}", path.display());
            path
        }
        None if ranks.get() > 1 && !cfg!(feature = "mpi") => {
            return Err(usage(
                "--ranks needs MPI, and this taper was built without it; build taper-cli with --features mpi",
            ));
        }
        None => std::env::current_exe().context("cannot tell where this program is")?,
    };
    let device = order.devices.first().cloned();
    Ok(Program { path, folder: order.folder.clone(), threads, device, ranks })
}

/// The command as typed, without the folder, which says nothing about the runs.
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
