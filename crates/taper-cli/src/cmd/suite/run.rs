//! `taper suite run`.

use super::{
    order::{launcher, order},
    progress::SuiteProgress,
    status,
};
use crate::{args::SuiteRun, term};
use anyhow::Context;
use std::process::ExitCode;
use taper_host::{Exit, on_stop};
use taper_suite::{Order, StopRequest, SuiteEnd, exit, summary};

/// Makes the runs that are not finished, then writes results and report, and judges.
pub fn run(args: &SuiteRun) -> anyhow::Result<ExitCode> {
    let order = Order {
        with: args.with.clone(),
        out: args.out.clone(),
        n_at_once: args.jobs.into(),
        shard: args.shard,
        ..order(&args.chosen)?
    };
    let n_processes = usize::from(args.jobs).saturating_mul(args.ranks.get());
    let threads = args.threads.map(usize::from).or_else(|| share_of_cores(n_processes));
    let launcher = launcher(&order, threads, args.ranks)?;
    let plan = order.plan(&launcher)?;
    if args.dry_run {
        status::list(&plan, args.jobs.into())?;
        return Ok(Exit::Done.into());
    }
    let stop = StopRequest::default();
    let handler = stop.clone();
    on_stop(move || {
        handler.raise();
        term::line("ending after the step of each run; once more ends them at once");
    })
    .context("cannot wait for Ctrl-C")?;
    Ok(match plan.make(&launcher, &mut SuiteProgress::default(), &stop)? {
        SuiteEnd::Interrupted => {
            term::line("interrupted; the same command goes on from here");
            Exit::Interrupted.into()
        }
        SuiteEnd::ShardDone { failed, n_left } => {
            for run in &failed {
                term::line(&format!("failed run {}: {}", run.key, run.reason));
                run.log.iter().for_each(|line| term::line(&format!("    {line}")));
            }
            term::line(&match n_left {
                0 if !failed.is_empty() => {
                    "the same command goes on with the runs that failed".to_owned()
                }
                0 => "all runs are finished; the same command without --shard writes the results"
                    .to_owned(),
                1 => "1 run of other shards is left".to_owned(),
                n => format!("{n} runs of other shards are left"),
            });
            if failed.is_empty() { Exit::Done.into() } else { Exit::Missed.into() }
        }
        SuiteEnd::Gathered { results, folder } => {
            term::print(summary::console(&results).trim_end())?;
            term::print(format_args!("\nwrote {}", folder.join("report.html").display()))?;
            exit(&results).into()
        }
    })
}

/// Threads for each of several runs at a time; what `taper train` takes by itself for one.
fn share_of_cores(n_at_once: usize) -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (n_at_once > 1).then(|| (cores / n_at_once).max(1))
}
