//! `taper watch`.

use crate::{args::Watch, error::usage, term};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::TryLockError,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};
use taper_report::{chart, format};

/// Steps over which the loss is averaged.
const SMOOTHED: usize = 50;

/// Says how far runs are, until they are finished.
pub fn run(args: &Watch) -> anyhow::Result<()> {
    let mut before = String::new();
    loop {
        let runs = found(&args.folder)?;
        let text = match &runs[..] {
            [run] if run.folder == args.folder => run.page(),
            runs => table(runs),
        };
        // On a terminal the page is drawn anew; elsewhere only what has changed is said.
        if std::io::stdout().is_terminal() && !args.once {
            term::print(format_args!("\x1b[H\x1b[2J{text}"))?;
        } else if text != before {
            term::print(&text)?;
        }
        // Between two runs of a suite all that have begun are finished.
        let is_over = runs.iter().all(|run| run.is_finished) && !is_locked(&args.folder);
        if args.once || is_over {
            return Ok(());
        }
        before = text;
        std::thread::sleep(Duration::from_secs(args.every));
    }
}

/// Whether somebody is at work in a folder of runs.
fn is_locked(folder: &Path) -> bool {
    let lock = std::fs::File::open(folder.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// What the records of a run say.
struct Seen {
    folder: PathBuf,
    is_finished: bool,
    /// Epochs of the whole run; the last may be a part of one.
    epochs: f64,
    epochs_done: usize,
    /// Mean seconds of an epoch, once one is over.
    seconds: Option<f64>,
    /// The last accuracy, and of which images.
    accuracy: Option<(&'static str, f64)>,
    loss: Vec<(f64, f64)>,
    /// In percent.
    sparsity: Vec<(f64, f64)>,
}

/// The run in a folder, or those in its folders, by name.
fn found(folder: &Path) -> anyhow::Result<Vec<Seen>> {
    if let Some(seen) = Seen::of(folder) {
        return Ok(vec![seen]);
    }
    let entries = std::fs::read_dir(folder)
        .map_err(|e| usage(format!("cannot read {}: {e}", folder.display())))?;
    let mut runs: Vec<Seen> = entries.flatten().filter_map(|e| Seen::of(&e.path())).collect();
    runs.sort_by(|a, b| a.folder.cmp(&b.folder));
    if runs.is_empty() {
        return Err(usage(format!(
            "{} holds no run; name the output folder of `taper train`, or one with such folders",
            folder.display()
        )));
    }
    Ok(runs)
}

/// Epochs of a run, by its steps where the record has them: `train.max_steps` may end it before its epochs are over.
fn epochs(run: &Value) -> f64 {
    let steps = run["steps"].as_f64().zip(run["steps_per_epoch"].as_f64());
    let epochs = steps.map(|(steps, per_epoch)| steps / per_epoch);
    epochs.or(run["recipe"]["train"]["epochs"].as_f64()).unwrap_or(0.0)
}

impl Seen {
    /// Reads the records; `None` where there is no run. Lines that are not whole yet are left out.
    fn of(folder: &Path) -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let description: Value = serde_json::from_str(&read("run.json")?).ok()?;
        let steps = read("steps.jsonl").unwrap_or_default();
        let steps: Vec<Value> =
            steps.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let points = |of: &dyn Fn(&Value) -> Option<f64>| -> Vec<(f64, f64)> {
            steps.iter().filter_map(|step| Some((step["step"].as_f64()?, of(step)?))).collect()
        };
        let rows = |name: &str| -> Vec<BTreeMap<String, String>> {
            let Ok(reader) = csv::Reader::from_path(folder.join(name)) else { return Vec::new() };
            reader.into_deserialize().filter_map(Result::ok).collect()
        };
        let column = |rows: &[BTreeMap<String, String>], name: &str| -> Vec<f64> {
            rows.iter().filter_map(|row| row.get(name)?.parse().ok()).collect()
        };
        let (metrics, timing) = (rows("metrics.csv"), column(&rows("timing.csv"), "seconds"));
        Some(Self {
            folder: folder.into(),
            is_finished: folder.join("result.json").is_file(),
            epochs: epochs(&description),
            epochs_done: metrics.len(),
            seconds: (!timing.is_empty()).then(|| timing.iter().sum::<f64>() / timing.len() as f64),
            accuracy: ["test", "validation"].into_iter().find_map(|part| {
                Some((part, *column(&metrics, &format!("{part}_accuracy")).last()?))
            }),
            loss: points(&|step| step["loss"].as_f64()),
            sparsity: points(&|step| Some(100.0 * step["sparsity"].as_f64()?)),
        })
    }

    fn name(&self) -> String {
        // `.` has a name, too.
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Mean of the last losses.
    fn last_loss(&self) -> Option<f64> {
        let last = &self.loss[self.loss.len().saturating_sub(SMOOTHED)..];
        (!last.is_empty())
            .then(|| last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len() as f64)
    }

    /// Where it stands, in a line.
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
        if self.is_finished {
            line.push_str(", finished");
        } else if let Some(seconds) = self.seconds {
            let left = (self.epochs - self.epochs_done as f64).max(0.0) * seconds;
            let _ = write!(line, ", about {} left", format::seconds(left));
        }
        line
    }

    /// The line with charts.
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
    let n = runs.iter().filter(|run| run.is_finished).count();
    format!("{}\n{n} of {} finished", lines.join("\n"), runs.len())
}
