//! The command `taper suite status`, and the list of `--dry-run`: states of the runs, and the remaining time.

use super::order::{launcher, order};
use crate::{args::SuiteStatus, term};
use serde_json::json;
use std::num::NonZeroUsize;
use taper_report::format;
use taper_suite::{PlannedRun, PlannedRuns, Program, RunState, SuitePlan};

/// Prints the states of the runs.
pub fn run(args: &SuiteStatus) -> anyhow::Result<()> {
    let order = order(&args.chosen)?;
    // Runs at work elsewhere can have a device that this machine lacks.
    let launcher = Program { device: None, ..launcher(&order, None, NonZeroUsize::MIN)? };
    let plan = order.plan(&launcher)?;
    let planned = plan.planned();
    let runs = &planned.runs;
    if args.json {
        let line = |run: &PlannedRun| {
            json!({
                "run": run.job.key,
                "state": run.state.word(),
                "epochs_done": run.epochs_done,
                "epochs": run.job.epochs,
                "seconds_left": run.seconds_left,
                "error": run.error,
            })
        };
        let lines: Vec<_> = runs.iter().map(line).collect();
        return term::print(serde_json::to_string_pretty(&lines)?);
    }
    let folder = plan.runs_folder().display();
    term::print(format_args!("suite '{}': {} runs in {folder}", order.suite.name, runs.len()))?;
    let is_news = |run: &&PlannedRun| match run.state {
        RunState::Finished => false,
        RunState::New => run.error.is_some(),
        _ => true,
    };
    for run in runs.iter().filter(is_news) {
        let epochs = run.job.epochs.map_or(String::new(), |n| format!(" of {n}"));
        let error = run.error.as_ref().map_or(String::new(), |error| format!("; {error}"));
        term::print(format_args!(
            "{:<10} {}  {}{epochs} epochs{error}",
            run.state.word(),
            run.job,
            run.epochs_done
        ))?;
    }
    let states =
        [RunState::Finished, RunState::Elsewhere, RunState::AtWork, RunState::Begun, RunState::New];
    let counts = states.map(|state| (runs.iter().filter(|run| run.state == state).count(), state));
    let counts = counts.iter().filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, state)| format!("{n} {}", state.word())).collect();
    term::print(counts.join(", "))?;
    match runs.iter().all(|run| run.state.is_done()) {
        true => term::print("all runs are finished; `taper suite run` writes the results"),
        false => term::print(left(&planned, 1)),
    }
}

/// Lists the runs with the remaining time of each.
pub fn list(plan: &SuitePlan, n_at_once: usize) -> anyhow::Result<()> {
    let planned = plan.planned();
    for PlannedRun { job, state, seconds_left, .. } in &planned.runs {
        let seconds = seconds_left.filter(|_| !state.is_done());
        let seconds = seconds.map_or(String::new(), |s| format!("  {}", format::seconds(s)));
        term::print(format_args!("{:<10} {}{seconds}", state.word(), job.key))?;
    }
    term::line(&left(&planned, n_at_once));
    Ok(())
}

/// The number of remaining runs, and an estimate of their total time with `n_at_once` runs in parallel.
fn left(PlannedRuns { runs, n_measured }: &PlannedRuns, n_at_once: usize) -> String {
    let left: Vec<&PlannedRun> = runs.iter().filter(|run| !run.state.is_done()).collect();
    let seconds: Option<Vec<f64>> = left.iter().map(|run| run.seconds_left).collect();
    let by = match (*n_measured, seconds) {
        (0, _) => "the time is estimated once one run is finished".into(),
        (n, Some(seconds)) => {
            let longest = seconds.iter().copied().fold(0.0, f64::max);
            let total = longest.max(seconds.iter().sum::<f64>() / n_at_once as f64);
            format!("about {}, estimated from {n} finished runs", format::seconds(total))
        }
        (_, None) => {
            "the time is unknown, because some recipes have no number of epochs or steps".into()
        }
    };
    format!("{} of {} runs to make; {by}", left.len(), runs.len())
}
