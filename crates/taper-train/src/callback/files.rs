//! Callbacks that write the records of a run to text files.
//!
//! Only [`TimingCsv`] contains times. All other files of a resumed run are byte-identical to those of an uninterrupted
//! run.

use super::{Callback, EpochEvent, Flow, StepEvent};
use crate::{EpochMetrics, Progress, error::TrainError};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};
use taper_prune::{Pruner, Report};
use taper_record::{
    masks::MaskChange,
    rows::{self, Row},
    step::StepMetrics,
    timing::EpochTime,
    write_atomically,
};

/// A text file that grows by whole lines. Each line goes to the operating system immediately, without a buffer in the
/// process.
struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens a file to append to it. Keeps the leading lines for which `keep` is true, and deletes the others. An
    /// incomplete last line, which a killed process can leave, is deleted.
    fn resume(path: &Path, head: &str, keep: impl Fn(&str) -> bool) -> Result<Self, TrainError> {
        let old = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(TrainError::io("read", path)(e)),
        };
        let whole = old.rfind('\n').map_or("", |end| &old[..=end]);
        let kept = whole.lines().skip(usize::from(!head.is_empty())).take_while(|line| keep(line));
        let content: String = head.lines().chain(kept).flat_map(|line| [line, "\n"]).collect();
        write_atomically(path, |file| file.write_all(content.as_bytes()))
            .map_err(TrainError::io("write", path))?;
        let file =
            OpenOptions::new().append(true).open(path).map_err(TrainError::io("open", path))?;
        Ok(Self { path: path.into(), file })
    }

    fn write(&mut self, mut line: String) -> Result<(), TrainError> {
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(TrainError::io("write", &self.path))
    }

    fn write_row(&mut self, row: &impl Row) -> Result<(), TrainError> {
        let line = rows::line(row).map_err(TrainError::io("write", &self.path))?;
        self.write(line)
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(TrainError::io("write", &self.path))
    }
}

/// The number in the first field of a CSV line.
fn first_number(line: &str) -> Option<u64> {
    line.split(',').next()?.parse().ok()
}

/// Writes `metrics.csv`: a row for each epoch. The whole file is rewritten from the history.
#[derive(Debug)]
pub struct EpochCsv {
    path: PathBuf,
}

impl EpochCsv {
    /// Writes to `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    fn write(&self, history: &[EpochMetrics]) -> Result<(), TrainError> {
        let text = rows::text(history);
        text.and_then(|text| write_atomically(&self.path, |file| file.write_all(text.as_bytes())))
            .map_err(TrainError::io("write", &self.path))
    }
}

impl Callback for EpochCsv {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        self.write(&progress.history).map(|()| Flow::Continue)
    }

    fn epoch(&mut self, event: &EpochEvent) -> Result<Flow, TrainError> {
        self.write(event.history).map(|()| Flow::Continue)
    }
}

/// Writes `steps.jsonl`: a JSON object for each step.
pub struct StepLines {
    path: PathBuf,
    lines: Option<Lines>,
}

impl StepLines {
    /// Writes to `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), lines: None }
    }
}

impl Callback for StepLines {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        let keep =
            |line: &str| StepMetrics::parse(line).is_some_and(|step| step.step < progress.step);
        self.lines = Some(Lines::resume(&self.path, "", keep)?);
        Ok(Flow::Continue)
    }

    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        let pruner = event.pruner;
        let report = pruner.map(Pruner::report);
        let clock = pruner.and_then(Pruner::clock);
        let step = StepMetrics {
            step: event.step,
            epoch: event.epoch,
            loss: event.loss,
            lr: event.lr,
            grad_norm: event.grad_norm,
            accuracy: event.n_correct as f64 / event.n_images as f64,
            sparsity_target: pruner.map(|pruner| pruner.sparsity().get()),
            sparsity: report.as_ref().map(|report| report.sparsity().get()),
            n_kept: report.as_ref().map(Report::n_kept),
            cut: pruner.map(Pruner::cut),
            theta: pruner.map(|pruner| pruner.pruned_grad().at_zero),
            n_live: pruner.map(Pruner::n_live),
            n_dropped: report.as_ref().map(Report::n_dropped),
            n_dead_filters: report.as_ref().map(Report::n_dead_filters),
            dead_grad_share: pruner.map(|_| event.dead_grad_share),
            clock,
            instability: clock.and(pruner).and_then(Pruner::instability),
        };
        if let Some(lines) = &mut self.lines {
            lines.write(step.line().map_err(TrainError::io("write", &self.path))?)?;
        }
        Ok(Flow::Continue)
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        self.lines.as_mut().map_or(Ok(()), Lines::flush)
    }
}

/// Writes `masks.csv`: the changes of each mask update. If the schedule received a change over its window, the row also
/// has that change.
pub struct MaskTrace {
    path: PathBuf,
    lines: Option<Lines>,
}

impl MaskTrace {
    /// Writes to `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), lines: None }
    }
}

impl Callback for MaskTrace {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        let keep = |line: &str| first_number(line).is_some_and(|step| step < progress.step);
        self.lines = Some(Lines::resume(&self.path, &rows::head::<MaskChange>(), keep)?);
        Ok(Flow::Continue)
    }

    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        if let (Some(lines), Some(seen)) =
            (&mut self.lines, event.pruner.and_then(Pruner::feedback))
        {
            let told = event.pruner.and_then(Pruner::told_feedback);
            lines.write_row(&MaskChange {
                step: event.step,
                n_weights: seen.n_weights,
                n_before: seen.n_before,
                n_kept: seen.n_kept,
                n_entered: seen.n_entered,
                n_left: seen.n_left,
                instability: seen.instability(),
                told_before: told.map(|told| told.n_before),
                told_kept: told.map(|told| told.n_kept),
                told_entered: told.map(|told| told.n_entered),
                told_left: told.map(|told| told.n_left),
            })?;
        }
        Ok(Flow::Continue)
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        self.lines.as_mut().map_or(Ok(()), Lines::flush)
    }
}

/// Writes `timing.csv`: for each epoch, the seconds including evaluation and checkpoints, and the training images per
/// second. This is the only file with times. For a resumed epoch, it covers only the steps since resuming.
pub struct TimingCsv {
    path: PathBuf,
    lines: Option<Lines>,
    since: Instant,
    last_step: Option<Instant>,
    n_images: u64,
}

impl TimingCsv {
    /// Writes to `path`.
    pub fn new(path: &Path) -> Self {
        let now = Instant::now();
        Self { path: path.into(), lines: None, since: now, last_step: None, n_images: 0 }
    }
}

impl Callback for TimingCsv {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        let n_epochs = progress.history.len() as u64;
        let keep = |line: &str| first_number(line).is_some_and(|epoch| epoch < n_epochs);
        self.lines = Some(Lines::resume(&self.path, &rows::head::<EpochTime>(), keep)?);
        self.since = Instant::now();
        Ok(Flow::Continue)
    }

    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        self.last_step = Some(Instant::now());
        self.n_images += event.n_images;
        Ok(Flow::Continue)
    }

    fn epoch(&mut self, event: &EpochEvent) -> Result<Flow, TrainError> {
        let training = self.last_step.map_or(0.0, |last| (last - self.since).as_secs_f64());
        let rate = if training > 0.0 { self.n_images as f64 / training } else { 0.0 };
        if let Some(lines) = &mut self.lines {
            lines.write_row(&EpochTime {
                epoch: event.last().epoch,
                seconds: self.since.elapsed().as_secs_f64(),
                images_per_second: rate,
            })?;
        }
        (self.since, self.last_step, self.n_images) = (Instant::now(), None, 0);
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_later_steps_and_incomplete_lines_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let open = || {
            Lines::resume(&path, "step,x", |line| first_number(line).is_some_and(|step| step < 2))
                .unwrap()
        };
        let mut lines = open();
        for step in 0..4 {
            lines.write(format!("{step},a")).unwrap();
        }
        lines.file.write_all(b"4,hal").unwrap();
        open().write("2,b".into()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "step,x\n0,a\n1,a\n2,b\n");
    }
}
