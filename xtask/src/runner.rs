//! Runs one job: the `taper` process, its log, its progress, its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use taper_host::{Exit, Usage, on_stop, terminate};
use taper_record::{Lock, NAMES};

use crate::suite::{Job, Overrides};

/// How often Ctrl-C or SIGTERM asked us to stop.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

/// How long an interrupted run may take to write its checkpoint.
const GRACE: Duration = Duration::from_secs(20);
/// How often we look whether a run has ended.
const POLL: Duration = Duration::from_millis(50);
/// Lines of a failed run's log that are shown.
const LOG_LINES: usize = 12;

/// How a job ended.
pub(crate) enum Outcome {
    /// `result.json` is there.
    Finished,
    /// It ended in an error.
    Failed { reason: String, log: Vec<String> },
    /// It was asked to stop, and goes on when called again.
    Interrupted,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    New,
    /// Begun, not finished.
    Begun,
    Finished,
    /// In results of others.
    Elsewhere,
}

impl State {
    /// Whether there is nothing left to do.
    pub(crate) fn is_done(self) -> bool {
        matches!(self, Self::Finished | Self::Elsewhere)
    }
}

/// The folder with the runs of a suite, locked for as long as this value or one of its processes lives.
pub(crate) struct Runner {
    root: PathBuf,
    folder: PathBuf,
    lock: Lock,
    taper: PathBuf,
    overrides: Overrides,
    threads: Option<usize>,
}

impl Runner {
    /// Locks the folder.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be written.
    pub(crate) fn new(
        root: &Path,
        suite: &str,
        taper: PathBuf,
        overrides: Overrides,
        threads: Option<usize>,
    ) -> Result<Self> {
        let folder = folder(root, suite);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join("lock");
        let lock = Lock::take(&path).with_context(|| format!("cannot lock {}", path.display()))?;
        let Some(lock) = lock else {
            bail!(Usage::new(format!(
                "another `cargo xtask reproduce` is at work in {}; wait for it to end",
                folder.display()
            )))
        };
        on_stop(|| {
            REQUESTS.fetch_add(1, Ordering::SeqCst);
            eprintln!("ending after the step of each run; once more ends them at once");
        })
        .context("cannot wait for Ctrl-C")?;
        Ok(Self { root: root.to_path_buf(), folder, lock, taper, overrides, threads })
    }

    /// Runs a job to its end; `at` hears of the epochs done.
    ///
    /// # Errors
    /// When `taper` cannot be started at all. A run that fails is an outcome, not an error.
    pub(crate) fn run(&self, job: &Job, at: impl Fn(u64)) -> Result<Outcome> {
        let run = self.folder.join(&job.key);
        let log_path = self.folder.join(format!("{}.log", job.key));
        let log = File::create(&log_path)
            .with_context(|| format!("cannot create {}", log_path.display()))?;
        let mut child = self
            .command(job, &run)
            // The child holds the lock as well: were we killed, nobody could start its run a second time.
            .stdin(Stdio::from(self.lock.share().context("cannot share the lock")?))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.taper.display()))?;

        let mut stopping = Stopping::default();
        let mut looks = 0u32;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(POLL);
            looks += 1;
            if looks.is_multiple_of(10) {
                at(epochs_done(&run));
            }
            stopping.pass_on(&mut child)?;
        };

        if interrupted() || status.code() == Some(Exit::Interrupted.code().into()) {
            return Ok(Outcome::Interrupted);
        }
        let reason = if !status.success() {
            status.to_string()
        } else if state(&run) != State::Finished {
            "it ended well but left no result.json".to_owned()
        } else {
            return Ok(Outcome::Finished);
        };
        Ok(Outcome::Failed { reason, log: last_lines(&log_path) })
    }

    fn command(&self, job: &Job, run: &Path) -> Command {
        let mut command = train(&self.taper, &self.root, job, &self.overrides);
        command.arg("--out").arg(run).args(["--resume", "--quiet", "--mask-trace"]);
        if let Some(device) = &self.overrides.device {
            command.args(["--device", device]);
        }
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        command
    }
}

/// Requests to stop, as a run gets them.
#[derive(Default)]
struct Stopping {
    n_passed_on: u32,
    since: Option<Instant>,
}

impl Stopping {
    /// Passes new requests on to the run, and ends it the hard way if it takes too long. It survives that: it goes on from
    /// its last checkpoint.
    fn pass_on(&mut self, child: &mut Child) -> Result<()> {
        let n_requests = REQUESTS.load(Ordering::SeqCst);
        if self.n_passed_on < n_requests {
            self.n_passed_on = n_requests;
            self.since.get_or_insert_with(Instant::now);
            terminate(child);
        }
        if self.since.is_some_and(|since| since.elapsed() > GRACE) {
            child.kill()?;
        }
        Ok(())
    }
}

/// `taper train` with all that decides the numbers of a run.
fn train(taper: &Path, root: &Path, job: &Job, overrides: &Overrides) -> Command {
    let mut command = Command::new(taper);
    command.current_dir(root).arg("train").arg(&job.experiment);
    if let Some(sparsity) = job.sparsity {
        command.args(["--sparsity", &sparsity.to_string()]);
    }
    command.args(["--seed", &job.seed.to_string()]);
    for (flag, settings) in [("--set-shared", &job.set_shared), ("--set", &job.set)] {
        settings.iter().for_each(|setting| {
            command.args([flag, setting]);
        });
    }
    if let Some(data) = &overrides.data {
        command.args(["--data", &data.name]);
    }
    command
}

/// The recipe of a run with a value for each key.
///
/// # Errors
/// With the words of `taper`, if it refuses the recipe.
pub(crate) fn resolved(
    taper: &Path,
    root: &Path,
    job: &Job,
    overrides: &Overrides,
) -> Result<serde_json::Value> {
    let output = train(taper, root, job, overrides)
        .arg("--dry-run")
        .output()
        .with_context(|| format!("cannot run {}", taper.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("error: ");
    ensure!(output.status.success(), Usage::new(format!("{job}: {said}")));
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{job}: `taper train --dry-run` printed no JSON"))
}

/// Where the runs of a suite live.
pub(crate) fn folder(root: &Path, suite: &str) -> PathBuf {
    root.join("runs").join(suite)
}

/// What a run folder says of its run.
pub(crate) fn state(run: &Path) -> State {
    // `result.json` is written last and atomically, so its presence is enough.
    match (run.join(NAMES.result).is_file(), run.is_dir()) {
        (true, _) => State::Finished,
        (false, true) => State::Begun,
        (false, false) => State::New,
    }
}

/// Whether somebody has asked us to stop.
pub(crate) fn interrupted() -> bool {
    REQUESTS.load(Ordering::SeqCst) > 0
}

/// Asks everything to stop, if nobody has.
pub(crate) fn interrupt() {
    REQUESTS.fetch_max(1, Ordering::SeqCst);
}

/// Lines of `metrics.csv` but the header.
pub(crate) fn epochs_done(run: &Path) -> u64 {
    let text = fs::read(run.join(NAMES.epochs)).unwrap_or_default();
    (text.iter().filter(|byte| **byte == b'\n').count() as u64).saturating_sub(1)
}

fn last_lines(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.log");
        let text: String = (0..40).map(|i| format!("line {i}\n\n")).collect();
        fs::write(&path, text).expect("writes");
        let lines = last_lines(&path);
        assert_eq!((lines.len(), lines[0].as_str()), (LOG_LINES, "line 28"));
        assert_eq!(last_lines(&dir.path().join("none")), Vec::<String>::new());
    }

    #[test]
    fn epochs_are_counted_without_the_header_and_the_torn_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(epochs_done(dir.path()), 0);
        fs::write(dir.path().join("metrics.csv"), "epoch,step\n0,10\n1,20\n2,3").expect("writes");
        assert_eq!(epochs_done(dir.path()), 2);
    }
}
