//! `cargo xtask reproduce`: from a suite to its table, with pass or fail.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::bands::{self, Band};
use crate::cmd::report;
use crate::date::Utc;
use crate::machine::{self, Machine};
use crate::progress::Progress;
use crate::results::{FailedRun, Manifest, Results, SCHEMA, Versions};
use crate::runner::{self, Outcome, Runner, State};
use crate::suite::{self, Job, Overrides, Suite};
use crate::{cells, collect, summary, taper};
use taper_report::format;

/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Arguments of `reproduce`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A folder below experiments/
    #[arg(default_value = "quick")]
    suite: String,
    /// Make only runs whose name has PATTERN in it, such as feather, s0.95 or 'ste*seed0'
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Number of seeds instead of the suite's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Where the results go [default: results/DATE-HOST]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// List the runs and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Train on this data set or folder instead of the suite's
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Threads of each run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Device: cpu, cuda:N or metal
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Any key of the experiments, for every run, such as train.epochs=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Makes the runs that are not finished, then writes results and report, and judges.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let mut suite = Suite::load(root, &args.suite)?;
    suite.seeds = args.seeds.unwrap_or(suite.seeds);
    let bands = bands::load(root, &suite)?;
    let overrides = Overrides {
        data: absolute(args.data.as_deref())?,
        device: args.device.clone(),
        set: args.set.clone(),
    };
    let jobs = suite.jobs(root, &overrides)?;
    let pattern = args.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Job> =
        jobs.iter().filter(|job| suite::matches(pattern, &job.to_string())).collect();
    ensure!(
        !chosen.is_empty(),
        "no run of suite '{}' has '{pattern}' in its name; --dry-run lists them",
        suite.name
    );
    let folder = runner::folder(root, &suite.name);
    let state = |job: &Job| runner::state(&folder.join(&job.key));
    if args.dry_run {
        list(&chosen, state);
        return Ok(ExitCode::SUCCESS);
    }

    let taper = taper::build(root, args.device.as_deref())?;
    let runner = Runner::new(root, &suite.name, taper, overrides, args.threads.map(usize::from))?;
    // Asked only now, under the lock: whoever had it may have finished some.
    let pending: Vec<&Job> =
        chosen.iter().copied().filter(|job| state(job) != State::Finished).collect();
    eprintln!(
        "suite '{}': {} runs, {} finished before",
        suite.name,
        chosen.len(),
        chosen.len() - pending.len()
    );
    let Some(failed) = make(&runner, &pending)? else {
        eprintln!("interrupted; the same command goes on from here");
        return Ok(ExitCode::from(INTERRUPTED));
    };

    let results = gather(root, &suite, bands, &jobs, failed);
    let dir = match &args.out {
        Some(dir) => dir.clone(),
        None => default_folder(root, &results.manifest),
    };
    results.save(&dir)?;
    report::write_documents(&results, &dir)?;
    print!("{}", summary::console(&results));
    println!("\nwrote {}", dir.join("report.html").display());
    Ok(if cells::passed(&results) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A folder is meant from where the user stands, while `taper` runs in the repository; a name stays a name.
fn absolute(data: Option<&str>) -> Result<Option<String>> {
    let Some(data) = data else { return Ok(None) };
    let path = Path::new(data);
    Ok(Some(if path.is_dir() {
        std::fs::canonicalize(path)?.display().to_string()
    } else {
        data.to_owned()
    }))
}

fn list(jobs: &[&Job], state: impl Fn(&Job) -> State) {
    for job in jobs {
        let state = match state(job) {
            State::New => "to do",
            State::Begun => "to resume",
            State::Finished => "finished",
        };
        println!("{state:<10} {}", job.key);
    }
}

/// Makes the runs one after another and returns those that failed; `None` when interrupted.
fn make(runner: &Runner, jobs: &[&Job]) -> Result<Option<Vec<FailedRun>>> {
    let epochs = |job: &Job| job.epochs.unwrap_or(1);
    let mut progress = Progress::new(jobs.iter().map(|job| epochs(job)).sum());
    let mut failed = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        progress.start(&job.to_string());
        let start = std::time::Instant::now();
        let outcome = runner.run(job, |done| progress.at(done.min(epochs(job))))?;
        let took = format::seconds(start.elapsed().as_secs_f64());
        let place =
            format!("[{:>width$}/{}]", i + 1, jobs.len(), width = jobs.len().to_string().len());
        match outcome {
            Outcome::Finished => progress.end(epochs(job), &format!("{place} {job}  {took}")),
            Outcome::Failed { reason, log } => {
                progress.end(epochs(job), &format!("{place} {job}  FAILED: {reason}"));
                failed.push(failure(job, reason, log));
            }
            Outcome::Interrupted => {
                progress.finish();
                return Ok(None);
            }
        }
        if runner::interrupted() {
            progress.finish();
            return Ok(None);
        }
    }
    progress.finish();
    Ok(Some(failed))
}

fn failure(job: &Job, reason: String, log: Vec<String>) -> FailedRun {
    FailedRun {
        key: job.key.clone(),
        row: job.row.clone(),
        sparsity: job.sparsity,
        seed: job.seed,
        reason,
        log,
    }
}

/// Collects all finished runs of the suite, whichever `--only` chose; a run folder that cannot be read has failed.
fn gather(
    root: &Path,
    suite: &Suite,
    bands: Vec<Band>,
    jobs: &[Job],
    failed: Vec<FailedRun>,
) -> Results {
    let manifest = Manifest {
        schema: SCHEMA,
        suite: suite.name.clone(),
        title: suite.title.clone(),
        date: Utc::now().timestamp(),
        command: command_line(std::env::args().skip(1)),
        commit: machine::commit(root),
        dirty: machine::dirty(root),
        machine: Machine::here(),
        versions: Versions { rustc: machine::rustc(), ..Versions::default() },
        seeds: suite.seeds,
        rows: suite.rows(),
        bands,
        failed,
    };
    let mut results = Results {
        manifest,
        runs: vec![],
        curves: vec![],
        steps: vec![],
        layers: vec![],
        fates: vec![],
    };
    let folder = runner::folder(root, &suite.name);
    for job in jobs {
        let run = folder.join(&job.key);
        if runner::state(&run) != State::Finished {
            continue;
        }
        if let Err(error) = collect::add(&mut results, job, &run) {
            let reason = format!("{error:#}; delete the run folder to repeat the run");
            results.manifest.failed.push(failure(job, reason, Vec::new()));
        }
    }
    results
}

/// The command as typed, without what only tests give.
fn command_line(mut args: impl Iterator<Item = String>) -> String {
    let mut words = vec!["cargo xtask".to_owned()];
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--root" => drop(args.next()),
            _ if arg.contains([' ', '*', '\'']) => words.push(format!("{arg:?}")),
            _ => words.push(arg),
        }
    }
    words.join(" ")
}

/// `results/<date>-<host>`, with the suite's name behind it where another suite has taken that.
fn default_folder(root: &Path, manifest: &Manifest) -> PathBuf {
    let day = manifest.date.get(..10).unwrap_or(&manifest.date);
    let name = format!("{day}-{}", machine::host());
    let dir = root.join("results").join(&name);
    match Results::load(&dir) {
        Ok(other) if other.manifest.suite != manifest.suite => {
            root.join("results").join(format!("{name}-{}", manifest.suite))
        }
        _ => dir,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_recorded_as_typed() {
        let args = ["--root", "/tmp/x", "reproduce", "quick", "--only", "ste*seed0"];
        let line = command_line(args.into_iter().map(str::to_owned));
        assert_eq!(line, "cargo xtask reproduce quick --only \"ste*seed0\"");
    }

    #[test]
    fn another_suite_on_the_same_day_has_its_own_folder() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let results = crate::testing::results();
        let first = default_folder(root.path(), &results.manifest);
        results.save(&first).expect("saves");
        assert_eq!(
            default_folder(root.path(), &results.manifest),
            first,
            "the same suite replaces its results"
        );
        let other = Manifest { suite: "long".into(), ..results.manifest };
        let name = default_folder(root.path(), &other);
        assert!(name.to_string_lossy().ends_with("-long"), "{}", name.display());
    }
}
