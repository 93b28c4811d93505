//! `cargo xtask reproduce`: from a suite to its table, with pass or fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail, ensure};

use crate::bands::{self, Band};
use crate::bench::{Peer, torch_python};
use crate::cmd::{bench, report};
use crate::date::Utc;
use crate::estimate::Speeds;
use crate::place::{self, Keys};
use crate::progress::Progress;
use crate::results::{FailedRun, Made, Manifest, Results, SCHEMA, Versions};
use crate::runner::{self, Outcome, Runner, State};
use crate::suite::{self, Data, Job, Overrides, Suite};
use crate::taken::Sources;
use crate::{cells, collect, provenance, summary, taper};
use taper_host::{Exit, Usage, machine};
use taper_report::format;

/// The suite that is no folder: the ratios of `cargo xtask bench`.
const SPEED: &str = "speed";

/// Arguments of `reproduce`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A folder below experiments/, or `speed`: how many times as fast as PyTorch
    #[arg(default_value = "quick")]
    suite: String,
    /// Make only runs whose name has PATTERN in it, such as feather, s0.95 or 'ste*seed0'
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Number of seeds instead of the suite's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Where the results go; they replace none with other runs [default: results/DATE-HOST]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take the runs that this results folder has, of this suite or another, instead of making them
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Runs at a time, which share the cores unless --threads says otherwise
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// List the runs with the time that they will take, by those that are finished, and do nothing
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
    if args.suite == SPEED {
        return speed(root, args);
    }
    let mut suite = Suite::load(root, &args.suite)?;
    suite.seeds = args.seeds.unwrap_or(suite.seeds);
    let bands = bands::load(root, &suite)?;
    let overrides = Overrides {
        data: args.data.as_deref().map(Data::of).transpose()?,
        device: args.device.clone(),
        set: args.set.clone(),
    };
    let taper = taper::build(root, args.device.as_deref())?;
    let jobs =
        suite.jobs(root, &overrides, &|job| runner::resolved(&taper, root, job, &overrides))?;
    let pattern = args.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Job> =
        jobs.iter().filter(|job| suite::matches(pattern, &job.to_string())).collect();
    ensure!(
        !chosen.is_empty(),
        Usage::new(format!(
            "no run of suite '{}' has '{pattern}' in its name; --dry-run lists them",
            suite.name
        ))
    );
    let sources = Sources::load(&args.with)?;
    sources.expect_some_of(&jobs)?;
    let folder = runner::folder(root, &suite.name);
    let state = |job: &Job| match runner::state(&folder.join(&job.key)) {
        State::New | State::Begun if sources.have(job) => State::Elsewhere,
        state => state,
    };
    if args.dry_run {
        list(&chosen, state, &folder, &Speeds::of(&folder, &jobs), args.jobs.into());
        return Ok(Exit::Done.into());
    }

    let manifest = manifest(root, &suite, bands);
    let place = |failed: &[FailedRun]| -> Result<PathBuf> {
        let failed: BTreeSet<&str> = failed.iter().map(|run| run.key.as_str()).collect();
        let is_there = |job: &&Job| state(job).is_done() || chosen.iter().any(|c| c.key == job.key);
        let keys = jobs.iter().filter(is_there).map(|job| job.key.as_str());
        let finished = keys.filter(|key| !failed.contains(key)).collect();
        let keys = Keys { finished, failed };
        match &args.out {
            Some(dir) if place::may_hold(dir, &manifest.suite, &keys) => Ok(dir.clone()),
            Some(dir) => bail!(Usage::new(format!(
                "{} holds results with runs that these would not have, or files of no results with names of theirs; pass another --out",
                dir.display()
            ))),
            None => Ok(place::of_runs(root, &manifest, &keys)),
        }
    };
    // Refused before anything is trained.
    place(&[])?;
    let threads = args.threads.map(usize::from).or_else(|| share_of_cores(args.jobs.into()));
    let runner = Runner::new(root, &suite.name, taper, overrides, threads)?;
    // Asked only now, under the lock: whoever had it may have finished some.
    let pending: Vec<&Job> = chosen.iter().copied().filter(|job| !state(job).is_done()).collect();
    eprintln!(
        "suite '{}': {} runs, {} there already",
        suite.name,
        chosen.len(),
        chosen.len() - pending.len()
    );
    let Some(failed) = make(&runner, &pending, args.jobs.into())? else {
        eprintln!("interrupted; the same command goes on from here");
        return Ok(Exit::Interrupted.into());
    };

    // Other suites may have got results meanwhile.
    let dir = place(&failed)?;
    let results = gather(Manifest { failed, ..manifest }, &jobs, &sources, &folder, &dir);
    results.save(&dir)?;
    report::write_documents(&results, &dir)?;
    print!("{}", summary::console(&results));
    println!("\nwrote {}", dir.join("report.html").display());
    Ok(cells::exit(&results).into())
}

/// Measures how many times as fast as PyTorch we are, and compares with the least that is accepted.
fn speed(root: &Path, args: &Args) -> Result<ExitCode> {
    let foreign = [
        ("--seeds", args.seeds.is_some()),
        ("--jobs", args.jobs > 1),
        ("--data", args.data.is_some()),
        ("--device", args.device.is_some()),
        ("--set", !args.set.is_empty()),
        ("--with", !args.with.is_empty()),
    ];
    if let Some((flag, _)) = foreign.iter().find(|(_, is_given)| *is_given) {
        bail!(Usage::new(format!(
            "{flag} is not for the suite '{SPEED}', which trains nothing; leave it out"
        )));
    }
    let mut bench = bench::Args {
        suites: Vec::new(),
        peers: Vec::new(),
        python: PathBuf::new(),
        profile: false,
        threads: args.threads.map_or(bench::THREADS, u64::from),
        rounds: bench::ROUNDS,
        only: args.only.clone(),
        out: args.out.clone(),
    };
    let cells = bench::cells(root, &bench)?;
    if args.dry_run {
        cells.iter().for_each(|cell| println!("{cell}"));
        return Ok(Exit::Done.into());
    }
    match torch_python()? {
        Some(python) => {
            eprintln!("PyTorch is that of {}", python.display());
            (bench.peers, bench.python) = (vec![Peer::Torch], python);
        }
        None => eprintln!(
            "there is no Python with torch and safetensors, so there are no ratios; TAPER_PYTHON names one"
        ),
    }
    bench::run(root, &bench)
}

/// Threads for each of several runs at a time; what `taper` takes by itself for one.
fn share_of_cores(n_at_once: usize) -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (n_at_once > 1).then(|| (cores / n_at_once).max(1))
}

fn list(
    jobs: &[&Job],
    state: impl Fn(&Job) -> State,
    folder: &Path,
    speeds: &Speeds,
    n_at_once: usize,
) {
    let (mut n_left, mut total, mut longest) = (0, Some(0.0), 0f64);
    for job in jobs {
        let state = state(job);
        let name = match state {
            State::New => "to do",
            State::Begun => "to resume",
            State::Finished => "finished",
            State::Elsewhere => "elsewhere",
        };
        if state.is_done() {
            println!("{name:<10} {}", job.key);
            continue;
        }
        let seconds = speeds.seconds_left(folder, job);
        n_left += 1;
        longest = longest.max(seconds.unwrap_or(0.0));
        total = total.zip(seconds).map(|(total, seconds)| total + seconds);
        let seconds = seconds.map_or(String::new(), |s| format!("  {}", format::seconds(s)));
        println!("{name:<10} {}{seconds}", job.key);
    }
    let by = match speeds.len() {
        0 => "how long they take is known once one is finished".into(),
        n => match total {
            Some(total) => {
                let total = format::seconds(longest.max(total / n_at_once as f64));
                format!("about {total}, by the {n} that are finished")
            }
            None => {
                "how long some take is not known, as their recipe has no number of epochs or steps"
                    .into()
            }
        },
    };
    eprintln!("{n_left} of {} runs to make; {by}", jobs.len());
}

/// Makes the runs, so many at a time, and returns those that failed; `None` when interrupted.
fn make(runner: &Runner, jobs: &[&Job], n_at_once: usize) -> Result<Option<Vec<FailedRun>>> {
    let epochs = |job: &Job| job.epochs.unwrap_or(1);
    let progress = Mutex::new(Progress::new(jobs.iter().map(|job| epochs(job)).sum()));
    let progress = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    let (next, n_ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // One after another from the list, until there are none left or somebody asks to stop.
    let work = || -> Result<Vec<(usize, FailedRun)>> {
        let mut failed = Vec::new();
        while !runner::interrupted() {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(i) else { break };
            progress().start(i, &job.to_string());
            let start = std::time::Instant::now();
            let outcome = runner
                .run(job, |done| progress().at(i, done.min(epochs(job))))
                .inspect_err(|_| runner::interrupt())?;
            let took = format::seconds(start.elapsed().as_secs_f64());
            let n = n_ended.fetch_add(1, Ordering::Relaxed) + 1;
            let place = format!("[{n:>width$}/{}]", jobs.len(), width = digits(jobs.len()));
            match outcome {
                Outcome::Finished => {
                    progress().end(i, epochs(job), &format!("{place} {job}  {took}"))
                }
                Outcome::Failed { reason, log } => {
                    progress().end(i, epochs(job), &format!("{place} {job}  FAILED: {reason}"));
                    failed.push((i, failure(job, reason, log)));
                }
                Outcome::Interrupted => runner::interrupt(),
            }
        }
        Ok(failed)
    };
    let found: Result<Vec<_>> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..n_at_once.clamp(1, jobs.len().max(1))).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    progress().finish();
    let mut failed: Vec<(usize, FailedRun)> = found?.into_iter().flatten().collect();
    if runner::interrupted() {
        return Ok(None);
    }
    // In the order of the suite, whichever ended first.
    failed.sort_by_key(|(i, _)| *i);
    Ok(Some(failed.into_iter().map(|(_, failed)| failed).collect()))
}

fn digits(n: usize) -> usize {
    n.to_string().len()
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

fn manifest(root: &Path, suite: &Suite, bands: Vec<Band>) -> Manifest {
    Manifest {
        schema: SCHEMA,
        suite: suite.name.clone(),
        title: suite.title.clone(),
        made: Made {
            date: Utc::now().timestamp(),
            command: command_line(std::env::args().skip(1)),
            commit: provenance::commit(root),
            dirty: provenance::dirty(root),
            machine: machine(),
            versions: Versions { rustc: provenance::rustc(), ..Versions::default() },
        },
        seeds: suite.seeds,
        baseline: suite.baseline.clone(),
        rows: suite.rows(),
        bands,
        failed: Vec::new(),
        machines: Vec::new(),
        taken: Vec::new(),
    }
}

/// Collects all finished runs of the suite, whichever `--only` chose, and those that others have; a run folder that cannot
/// be read has failed.
fn gather(
    manifest: Manifest,
    jobs: &[Job],
    sources: &Sources,
    folder: &Path,
    dir: &Path,
) -> Results {
    let mut results = Results {
        manifest,
        runs: vec![],
        curves: vec![],
        steps: vec![],
        layers: vec![],
        fates: vec![],
    };
    for job in jobs {
        let run = folder.join(&job.key);
        if runner::state(&run) != State::Finished {
            sources.add(&mut results, job, dir);
            continue;
        }
        if let Err(error) = collect::add(&mut results, job, &run, dir) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_recorded_as_typed() {
        let args = ["--root", "/tmp/x", "reproduce", "quick", "--only", "ste*seed0"];
        let line = command_line(args.into_iter().map(str::to_owned));
        assert_eq!(line, "cargo xtask reproduce quick --only \"ste*seed0\"");
    }
}
