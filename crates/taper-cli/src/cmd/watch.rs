//! The command `taper watch`: shows the progress of runs.

mod tail;

use crate::{args::Watch, error::usage, term};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tail::Tail;
use taper::record::{
    Lock, NAMES, RunFiles, epoch::EpochMetrics, step::StepMetrics, timing::EpochTime,
};
use taper_report::{chart, format};

/// Number of steps over which the loss is averaged.
const SMOOTHED: usize = 50;

/// After this time without a step, an active run may hang.
const LONG: Duration = Duration::from_secs(600);

/// Shows the progress of runs until none is active.
pub fn run(args: &Watch) -> anyhow::Result<()> {
    let mut before = String::new();
    let mut runs = Vec::new();
    loop {
        runs = found(&args.folder, runs)?;
        let text = match &runs[..] {
            [run] if run.folder == args.folder => run.page(),
            runs => table(runs),
        };
        // A terminal is cleared and redrawn; elsewhere, the text is printed only if it has changed.
        if std::io::stdout().is_terminal() && !args.once {
            term::print(format_args!("\x1b[H\x1b[2J{text}"))?;
        } else if text != before {
            term::print(&text)?;
        }
        // A suite holds the lock of a run before the run begins, while it reads its data, and until it has ended.
        let is_suite_at_work = holds_a_lock(&args.folder);
        let is_over = !is_suite_at_work && runs.iter().all(|run| run.state != State::AtWork);
        if args.once || is_over {
            return Ok(());
        }
        before = text;
        std::thread::sleep(Duration::from_secs(args.every));
    }
}

/// Whether a process holds the lock of a run in the folder of a suite.
fn holds_a_lock(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path());
    let is_lock = |path: &PathBuf| path.extension().is_some_and(|end| end == "lock");
    paths.any(|path| is_lock(&path) && Lock::is_held(&path) == Some(true))
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    AtWork,
    Finished,
    /// Not finished, and no process works on it.
    Stopped,
}

/// The progress of a run, from its records.
struct Seen {
    folder: PathBuf,
    state: State,
    /// Time since the last step, if longer than [`LONG`].
    idle: Option<Duration>,
    /// Position up to which the steps have been read.
    steps: Tail,
    /// Epochs of the whole run; the last one may be partial.
    epochs: f64,
    epochs_done: usize,
    /// Mean seconds of an epoch, once one is finished.
    seconds: Option<f64>,
    /// The last accuracy, with `test` or `validation`.
    accuracy: Option<(&'static str, f64)>,
    /// Loss by step.
    loss: Vec<(f64, f64)>,
    /// Sparsity in percent by step.
    sparsity: Vec<(f64, f64)>,
}

/// The run in a folder, or the runs in its subfolders, sorted by path. Runs in `before` read only what is new.
fn found(folder: &Path, before: Vec<Seen>) -> anyhow::Result<Vec<Seen>> {
    let mut before: BTreeMap<PathBuf, Seen> =
        before.into_iter().map(|seen| (seen.folder.clone(), seen)).collect();
    let mut look = |folder: &Path| match before.remove(folder) {
        Some(mut seen) => seen.look().map(|()| seen),
        None => Seen::of(folder),
    };
    if let Some(seen) = look(folder) {
        return Ok(vec![seen]);
    }
    let entries = std::fs::read_dir(folder)
        .map_err(|e| usage(format!("cannot read {}: {e}", folder.display())))?;
    let mut runs: Vec<Seen> = entries.flatten().filter_map(|e| look(&e.path())).collect();
    runs.sort_by(|a, b| a.folder.cmp(&b.folder));
    if runs.is_empty() {
        return Err(usage(format!(
            "{} contains no run; pass the output folder of `taper train`, or a folder with such folders",
            folder.display()
        )));
    }
    Ok(runs)
}

impl Seen {
    /// Reads the records; `None` if there is no run.
    fn of(folder: &Path) -> Option<Self> {
        let mut seen = Self {
            folder: folder.into(),
            state: State::AtWork,
            idle: None,
            steps: Tail::default(),
            epochs: 0.0,
            epochs_done: 0,
            seconds: None,
            accuracy: None,
            loss: Vec::new(),
            sparsity: Vec::new(),
        };
        seen.look().map(|()| seen)
    }

    /// Reads what has changed; `None` if the run no longer exists.
    fn look(&mut self) -> Option<()> {
        let folder = self.folder.clone();
        // Lock, then result, then records: the records below are complete if the run has ended before this point.
        let files = RunFiles::new(&folder);
        let is_at_work = Lock::is_held(&files.path(NAMES.lock));
        let is_finished = files.has_result();
        if is_finished && self.state == State::Finished {
            return Some(());
        }
        let run = files.run().ok()??;
        let steps = files.path(NAMES.steps);
        self.read_steps(&steps);
        // An incomplete file is read the next time.
        let epochs = files.epochs().unwrap_or_default();
        let timing = files.timing().unwrap_or_default();
        self.epochs = run.epochs();
        self.epochs_done = epochs.len();
        self.seconds =
            (!timing.is_empty()).then(|| EpochTime::totals(&timing).0 / timing.len() as f64);
        let last = |of: fn(&EpochMetrics) -> f64| epochs.iter().map(of).rfind(|a| !a.is_nan());
        let test = last(|epoch| epoch.test_accuracy).map(|accuracy| ("test", accuracy));
        let validation = || Some(("validation", last(|epoch| epoch.validation_accuracy)?));
        self.accuracy = test.or_else(validation);
        let last_step = steps.metadata().and_then(|file| file.modified()).ok();
        let idle = last_step.and_then(|at| SystemTime::now().duration_since(at).ok());
        self.idle = idle.filter(|idle| *idle > LONG);
        self.state = match (is_finished, is_at_work) {
            (true, _) => State::Finished,
            (false, Some(true)) => State::AtWork,
            (false, Some(false)) => State::Stopped,
            // The file system has no locks: the state depends on progress.
            (false, None) if self.idle.is_some() => State::Stopped,
            (false, None) => State::AtWork,
        };
        Some(())
    }

    /// Reads the new steps; incomplete lines are left for the next time.
    fn read_steps(&mut self, path: &Path) {
        let Some(news) = self.steps.read(path) else { return };
        if news.is_anew {
            self.loss.clear();
            self.sparsity.clear();
        }
        for line in news.lines.lines() {
            let Some(line) = StepMetrics::parse(line) else { continue };
            let step = line.step as f64;
            self.loss.extend((!line.loss.is_nan()).then_some((step, line.loss)));
            self.sparsity.extend(line.sparsity.map(|share| (step, 100.0 * share)));
        }
    }

    fn name(&self) -> String {
        // Canonical, because `.` has no file name.
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Mean of the last [`SMOOTHED`] losses.
    fn last_loss(&self) -> Option<f64> {
        let last = &self.loss[self.loss.len().saturating_sub(SMOOTHED)..];
        (!last.is_empty())
            .then(|| last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len() as f64)
    }

    /// The progress in one line.
    fn line(&self) -> String {
        let steps = self.loss.last().map_or(0.0, |(step, _)| step + 1.0);
        let mut line = format!(
            "epoch {}/{}, {} steps",
            self.epochs_done,
            self.epochs.ceil(),
            format::count(steps)
        );
        // Writing to a String cannot fail.
        if let Some((_, sparsity)) = self.sparsity.last() {
            let _ = write!(line, ", sparsity {sparsity:.2} %");
        }
        if let Some(loss) = self.last_loss() {
            let _ = write!(line, ", loss {loss:.4}");
        }
        if let Some((part, accuracy)) = self.accuracy {
            let _ = write!(line, ", {part} accuracy {}", format::percent(accuracy, 2));
        }
        match (self.state, self.seconds) {
            (State::Finished, _) => line.push_str(", finished"),
            (State::Stopped, _) => {
                line.push_str(", stopped: no process works on it; --resume continues it")
            }
            (State::AtWork, Some(seconds)) => {
                let left = (self.epochs - self.epochs_done as f64).max(0.0) * seconds;
                let _ = write!(line, ", about {} left", format::seconds(left));
            }
            (State::AtWork, None) => {}
        }
        if let (State::AtWork, Some(idle)) = (self.state, self.idle) {
            let _ = write!(line, ", no step for {}", format::seconds(idle.as_secs_f64()));
        }
        line
    }

    /// The progress line, with charts of loss and sparsity.
    fn page(&self) -> String {
        let mut page = format!("{}: {}", self.name(), self.line());
        for (title, points) in [("Loss", &self.loss), ("Sparsity, %", &self.sparsity)] {
            if points.len() > 1 {
                let _ = write!(
                    page,
                    "\n\n{title}\n{}",
                    chart::text(&[points], term::columns()).trim_end()
                );
            }
        }
        page
    }
}

fn table(runs: &[Seen]) -> String {
    let width = runs.iter().map(|run| run.name().len()).max().unwrap_or(0);
    let lines: Vec<String> =
        runs.iter().map(|run| format!("{:<width$}  {}", run.name(), run.line())).collect();
    let count = |state| runs.iter().filter(|run| run.state == state).count();
    let mut table =
        format!("{}\n{} of {} finished", lines.join("\n"), count(State::Finished), runs.len());
    if count(State::Stopped) > 0 {
        let _ = write!(table, ", {} stopped", count(State::Stopped));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(i: u64) -> String {
        format!("{{\"step\":{i},\"loss\":{i}.5,\"sparsity\":0.5}}\n")
    }

    #[test]
    fn a_second_read_adds_only_new_steps() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let steps =
            |ids: &[u64]| write("steps.jsonl", &ids.iter().map(|&i| step(i)).collect::<String>());
        assert!(Seen::of(folder.path()).is_none(), "there is no run");
        write("run.json", r#"{"recipe":{"train":{"epochs":3}}}"#);
        steps(&[0, 1, 2]);
        let mut seen = Seen::of(folder.path()).unwrap();
        let ids = |seen: &Seen| seen.loss.iter().map(|point| point.0 as u64).collect::<Vec<_>>();
        assert_eq!((ids(&seen), seen.epochs), (vec![0, 1, 2], 3.0));
        steps(&[0, 1, 2, 3]);
        seen.look().unwrap();
        assert_eq!(ids(&seen), [0, 1, 2, 3]);
        assert_eq!(seen.sparsity.last(), Some(&(3.0, 50.0)));
        steps(&[0]);
        seen.look().unwrap();
        assert_eq!(ids(&seen), [0], "cut back to the checkpoint");
    }

    #[test]
    fn a_run_is_at_work_while_its_lock_is_held() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.json"), "{}").unwrap();
        let state = || Seen::of(folder.path()).unwrap().state;
        assert_eq!(state(), State::AtWork, "without locks, and without steps to be late");
        let lock = Lock::take(&folder.path().join(NAMES.lock)).unwrap();
        assert_eq!(state(), State::AtWork);
        drop(lock);
        assert_eq!(state(), State::Stopped);
        std::fs::write(folder.path().join("result.json"), "{}").unwrap();
        assert_eq!(state(), State::Finished);
    }
}
