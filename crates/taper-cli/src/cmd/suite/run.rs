//! The command `taper suite run`.

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

/// Makes the unfinished runs, writes results and report, and compares the results with the bands.
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
        term::line("stopping each run after its current step; a second signal stops them at once");
    })
    .context("cannot handle Ctrl-C")?;
    Ok(match plan.make(&launcher, &mut SuiteProgress::default(), &stop)? {
        SuiteEnd::Interrupted => {
            term::line("interrupted; run the same command to resume");
            Exit::Interrupted.into()
        }
        SuiteEnd::ShardDone { failed, n_left } => {
            for run in &failed {
                term::line(&format!("failed run {}: {}", run.key, run.reason));
                run.log.iter().for_each(|line| term::line(&format!("    {line}")));
            }
            term::line(&match n_left {
                0 if !failed.is_empty() => {
                    "run the same command to repeat the failed runs".to_owned()
                }
                0 => "all runs are finished; run the same command without --shard to write the results"
                    .to_owned(),
                1 => "1 run of other shards is not finished".to_owned(),
                n => format!("{n} runs of other shards are not finished"),
            });
            if failed.is_empty() { Exit::Done.into() } else { Exit::Missed.into() }
        }
        SuiteEnd::Gathered { results, folder } => {
            let (exit, page) = (exit(&results), folder.join("report.html"));
            term::print_before(exit, summary::console(&results).trim_end())?;
            term::print_before(exit, format_args!("\nwrote {}", page.display()))?;
            exit.into()
        }
    })
}

/// Threads for each of several parallel runs. `None` for one run: the default of `taper train`.
fn share_of_cores(n_at_once: usize) -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (n_at_once > 1).then(|| (cores / n_at_once).max(1))
}
