//! The command `taper suite submit`.

use super::order::{launcher, order};
use crate::{args::SuiteSubmit, term};
use std::{num::NonZeroUsize, path::Path};
use taper_suite::{Program, Submission};

/// Submits a suite to Slurm, or prints the batch script.
pub fn run(args: &SuiteSubmit) -> anyhow::Result<()> {
    let order = order(&args.chosen)?;
    // The nodes have the device, not this machine.
    let program = Program { device: None, ..launcher(&order, None, args.ranks)? };
    // Planned here: an invalid suite fails before jobs are submitted.
    let plan = order.plan(&program)?;
    let n_left = plan.planned().runs.iter().filter(|run| !run.state.is_done()).count();
    // At most one job for each run: others would have nothing to do.
    let array_size =
        NonZeroUsize::new(n_left).map_or(NonZeroUsize::MIN, |n| n.min(args.array_size));
    let mut arguments = Vec::new();
    let mut hand_on = |flag: &str, value: Option<String>| {
        arguments.extend(value.map(|value| format!("{flag}={value}")));
    };
    hand_on("--only", args.chosen.only.clone());
    hand_on("--seeds", args.chosen.seeds.map(|seeds| seeds.to_string()));
    hand_on("--data", order.overrides.data.as_ref().map(|data| data.name.clone()));
    hand_on("--device", Some(args.chosen.device.join(",")).filter(|devices| !devices.is_empty()));
    hand_on("--threads", args.cpus.map(|cpus| cpus.to_string()));
    // The jobs start in another folder, so relative paths of settings have become absolute.
    order.overrides.settings()?.into_iter().for_each(|set| hand_on("--set", Some(set)));
    let submission = Submission {
        suite: named(&args.chosen.suite)?,
        name: order.suite.name.clone(),
        folder: order.folder.clone(),
        program: program.path.clone(),
        array_size,
        partition: args.partition.clone(),
        time: args.time.clone(),
        cpus: args.cpus,
        gres: args.gres.clone(),
        ranks: args.ranks,
        sbatch: args.sbatch.clone(),
        arguments,
    };
    if args.print {
        return term::print(submission.script()?.trim_end());
    }
    let runs = plan.begin_shards(array_size, || submission.submit_runs())?;
    let results = submission.submit_results(&runs)?;
    let status = submission.command("status")?;
    term::print(format_args!(
        "job {}, an array of {array_size}, makes {n_left} runs; job {results} gathers the results after it\n\
         `{status}` shows the progress",
        runs.job
    ))
}

/// The name of a suite for jobs: absolute if it is a path, because jobs start in another folder.
fn named(suite: &str) -> anyhow::Result<String> {
    match Path::new(suite).join("suite.toml").is_file() {
        true => Ok(std::path::absolute(suite)?.display().to_string()),
        false => Ok(suite.to_owned()),
    }
}
