//! Executes runs, several at a time, next to other processes that execute runs of the same suite.

use crate::{
    launcher::{Launch, Launcher, RunOutcome, StopRequest},
    results::FailedRun,
    runs::{RunState, RunsFolder},
    suite::Job,
    watch::SuiteWatch,
};
use anyhow::Result;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use taper_record::Lock;
use taper_report::format;

/// Interval of checks whether runs of other processes have ended.
const POLL: Duration = Duration::from_millis(200);

/// How and where runs are executed.
pub(crate) struct Making<'a> {
    pub(crate) launcher: &'a dyn Launcher,
    pub(crate) runs: &'a RunsFolder,
    /// Devices that concurrent runs use in turn; empty for the CPU.
    pub(crate) devices: &'a [String],
    pub(crate) n_at_once: usize,
    pub(crate) stop: &'a StopRequest,
}

/// The state that the workers share.
struct Shared<'a> {
    /// Runs that no worker of this process has claimed, by their indices.
    queue: VecDeque<usize>,
    watch: &'a mut dyn SuiteWatch,
    n_ended: usize,
    has_said_that_it_waits: bool,
}

/// Executes the runs and returns those that failed; `None` after a request to stop.
///
/// # Errors
/// If no run can be started, or a run cannot be claimed.
pub(crate) fn make(
    making: &Making,
    jobs: &[&Job],
    watch: &mut dyn SuiteWatch,
) -> Result<Option<Vec<FailedRun>>> {
    let shared = Mutex::new(Shared {
        queue: (0..jobs.len()).collect(),
        watch,
        n_ended: 0,
        has_said_that_it_waits: false,
    });
    let n_workers = making.n_at_once.clamp(1, jobs.len().max(1));
    let found: Result<Vec<_>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..n_workers)
            .map(|worker| {
                let shared = &shared;
                scope.spawn(move || {
                    work(making, jobs, worker, shared)
                        // The other workers end, too.
                        .inspect_err(|_| making.stop.raise_once())
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    shared.watch.finish();
    let mut failed: Vec<(usize, FailedRun)> = found?.into_iter().flatten().collect();
    if making.stop.is_raised() {
        return Ok(None);
    }
    // In the order of the suite, not in the order of their ends.
    failed.sort_by_key(|(i, _)| *i);
    Ok(Some(failed.into_iter().map(|(_, failed)| failed).collect()))
}

/// Executes one run after another, until no run is left or a stop is requested.
fn work(
    making: &Making,
    jobs: &[&Job],
    worker: usize,
    shared: &Mutex<Shared>,
) -> Result<Vec<(usize, FailedRun)>> {
    let shared = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let device = making.devices.get(worker % making.devices.len().max(1)).map(String::as_str);
    let mut failed = Vec::new();
    while !making.stop.is_raised() {
        // Not in the `match`, which would keep the mutex while this worker waits.
        let next = next(making, jobs, &mut shared())?;
        let (i, lock) = match next {
            Next::Run(i, lock) => (i, lock),
            Next::Wait => {
                thread::sleep(POLL);
                continue;
            }
            Next::Nothing => break,
        };
        let job = jobs[i];
        let epochs = job.epochs.unwrap_or(1);
        shared().watch.start(i, &job.to_string());
        let start = Instant::now();
        let launch = Launch {
            folder: &making.runs.run(&job.key),
            log: &making.runs.log(&job.key),
            device,
            lock: &lock,
            stop: making.stop,
            at: &|done| shared().watch.at(i, done.min(epochs)),
        };
        let outcome = making.launcher.run(job, &launch)?;
        let took = format::seconds(start.elapsed().as_secs_f64());
        let mut shared = shared();
        match outcome {
            RunOutcome::Finished => shared.end(jobs, i, &format!("{job}  {took}")),
            RunOutcome::Failed { reason, log } => {
                shared.end(jobs, i, &format!("{job}  FAILED: {reason}"));
                failed.push((i, FailedRun::of(job, reason, log)));
            }
            RunOutcome::Interrupted => making.stop.raise_once(),
        }
    }
    Ok(failed)
}

/// What a worker does next.
enum Next {
    /// This run, which this process has claimed while the lock lives.
    Run(usize, Lock),
    /// Other processes are at work on all remaining runs.
    Wait,
    /// No run is left.
    Nothing,
}

/// Claims the first run of the queue that no other process is at work on. Runs that others have finished leave the
/// queue.
fn next(making: &Making, jobs: &[&Job], shared: &mut Shared) -> Result<Next> {
    for _ in 0..shared.queue.len() {
        let Some(i) = shared.queue.pop_front() else { break };
        let key = &jobs[i].key;
        // A check of the state is faster than an attempt to claim the run, which waits a little.
        let is_free = making.runs.state(key) != RunState::AtWork;
        let Some(lock) = (if is_free { making.runs.claim(key)? } else { None }) else {
            shared.queue.push_back(i);
            continue;
        };
        // The process that had it may have finished it.
        if making.runs.state(key) == RunState::Finished {
            shared.end(jobs, i, &format!("{}  by another process", jobs[i]));
            continue;
        }
        return Ok(Next::Run(i, lock));
    }
    if shared.queue.is_empty() {
        return Ok(Next::Nothing);
    }
    if !std::mem::replace(&mut shared.has_said_that_it_waits, true) {
        let n = shared.queue.len();
        let runs = if n == 1 { "run" } else { "runs" };
        shared.watch.note(&format!("waiting for {n} {runs} of other processes"));
    }
    Ok(Next::Wait)
}

impl Shared<'_> {
    /// Reports a run that has ended, or was found finished.
    fn end(&mut self, jobs: &[&Job], i: usize, line: &str) {
        self.n_ended += 1;
        let width = jobs.len().to_string().len();
        let place = format!("[{:>width$}/{}]", self.n_ended, jobs.len());
        self.watch.end(i, jobs[i].epochs.unwrap_or(1), &format!("{place} {line}"));
    }
}
