//! The folder of a run and its files.

use crate::{
    RecordError, epoch::EpochMetrics, fate::FateRow, masks::MaskChange, result::RunResult, rows,
    run::RunRecord, step::StepMetrics, timing::EpochTime, write_file,
};
use serde::Serialize;
use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind},
    path::{Path, PathBuf},
};

/// Names of the files that a run writes beside its checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The recipe and the data; written before any other file.
    pub run: &'static str,
    /// The result; written last.
    pub result: &'static str,
    /// The pruned network.
    pub pruned: &'static str,
    /// The pruned network of the best epoch.
    pub best: &'static str,
    /// A line for each epoch.
    pub epochs: &'static str,
    /// A line for each step.
    pub steps: &'static str,
    /// A line for each step with a mask update.
    pub masks: &'static str,
    /// The duration of each epoch.
    pub timing: &'static str,
    /// How many pruned weights were kept again.
    pub fates: &'static str,
    /// The folder of training checkpoints.
    pub checkpoints: &'static str,
    /// The lock file: locked while a process works on the run. It is not a record.
    pub lock: &'static str,
}

/// The names of a run's files.
pub const NAMES: Names = Names {
    run: "run.json",
    result: "result.json",
    pruned: "pruned.safetensors",
    best: "pruned-best.safetensors",
    epochs: "metrics.csv",
    steps: "steps.jsonl",
    masks: "masks.csv",
    timing: "timing.csv",
    fates: "significance.csv",
    checkpoints: "checkpoints",
    lock: ".lock",
};

impl Names {
    /// All files except the training checkpoints and the lock. The first one is written before all others.
    pub fn records(&self) -> [&'static str; 9] {
        let Self { run, result, pruned, best, epochs, steps, masks, timing, fates, .. } = *self;
        [run, result, pruned, best, epochs, steps, timing, masks, fates]
    }
}

/// The folder of a run. Reads and writes its files.
#[derive(Clone, Debug)]
pub struct RunFiles {
    folder: PathBuf,
}

impl RunFiles {
    /// The files in a folder. The folder need not exist.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Reads `run.json`; `None` if no run has begun.
    ///
    /// # Errors
    /// If the file cannot be read, is invalid, or is from a later version.
    pub fn run(&self) -> Result<Option<RunRecord>, RecordError> {
        let path = self.path(NAMES.run);
        text(&path)?.map(|text| RunRecord::parse(&text, &path)).transpose()
    }

    /// Reads `result.json`; `None` if the run has not finished.
    ///
    /// # Errors
    /// If the file cannot be read, is invalid, or is from a later version.
    pub fn result(&self) -> Result<Option<RunResult>, RecordError> {
        let path = self.path(NAMES.result);
        text(&path)?.map(|text| RunResult::parse(&text, &path)).transpose()
    }

    /// Whether the run has finished.
    pub fn has_result(&self) -> bool {
        self.path(NAMES.result).is_file()
    }

    /// Reads `metrics.csv`.
    ///
    /// # Errors
    /// If the file is missing, cannot be read, or is invalid.
    pub fn epochs(&self) -> Result<Vec<EpochMetrics>, RecordError> {
        rows::read(&self.path(NAMES.epochs))
    }

    /// Reads `timing.csv`; empty if the file is missing.
    ///
    /// # Errors
    /// If the file cannot be read, or is invalid.
    pub fn timing(&self) -> Result<Vec<EpochTime>, RecordError> {
        self.optional(NAMES.timing)
    }

    /// Reads `masks.csv`; empty if the file is missing.
    ///
    /// # Errors
    /// If the file cannot be read, or is invalid.
    pub fn masks(&self) -> Result<Vec<MaskChange>, RecordError> {
        self.optional(NAMES.masks)
    }

    /// Reads `significance.csv`; empty if the file is missing, because no pruned weights were followed.
    ///
    /// # Errors
    /// If the file cannot be read, or is invalid.
    pub fn fates(&self) -> Result<Vec<FateRow>, RecordError> {
        self.optional(NAMES.fates)
    }

    /// Reads about `n` evenly spaced steps of `steps.jsonl`, including the first and the last. `n` is at least 1.
    ///
    /// # Errors
    /// If the file is missing, cannot be read, or is invalid.
    pub fn steps(&self, n: usize) -> Result<Vec<StepMetrics>, RecordError> {
        let path = self.path(NAMES.steps);
        let io = || RecordError::io("read", &path);
        let open = || File::open(&path).map(BufReader::new).map_err(io());
        // The file is read twice instead of stored in memory: a long run has several hundred thousand lines.
        let n_lines = open()?.lines().count();
        let stride = n_lines.div_ceil(n.max(1)).max(1);
        let mut steps = Vec::new();
        for (i, line) in open()?.lines().enumerate() {
            let line = line.map_err(io())?;
            if i % stride == 0 || i + 1 == n_lines {
                let step = serde_json::from_str(&line);
                let wrong = |e| RecordError::malformed(&path)(format!("line {}: {e}", i + 1));
                steps.push(step.map_err(wrong)?);
            }
        }
        Ok(steps)
    }

    /// Writes a JSON file, atomically.
    ///
    /// # Errors
    /// [`RecordError::Io`] if the folder cannot be written. The old file then remains.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<(), RecordError> {
        let path = self.path(name);
        let text = serde_json::to_string_pretty(value).map_err(RecordError::malformed(&path))?;
        self.write_text(name, &(text + "\n"))
    }

    /// Writes a text file, atomically.
    ///
    /// # Errors
    /// [`RecordError::Io`] if the folder cannot be written. The old file then remains.
    pub fn write_text(&self, name: &str, text: &str) -> Result<(), RecordError> {
        write_file(&self.path(name), text.as_bytes())
    }

    fn optional<R: rows::Row>(&self, name: &str) -> Result<Vec<R>, RecordError> {
        let path = self.path(name);
        match path.exists() {
            true => rows::read(&path),
            false => Ok(Vec::new()),
        }
    }
}

/// The text of a file; `None` if the file is missing.
fn text(path: &Path) -> Result<Option<String>, RecordError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RecordError::io("read", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_of_the_steps_includes_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        let files = RunFiles::new(folder.path());
        let write = |n: u64| {
            let lines: String = (0..n)
                .map(|step| format!("{{\"step\":{step},\"loss\":1.0,\"sparsity_target\":0.5,\"sparsity\":null}}\n"))
                .collect();
            std::fs::write(files.path(NAMES.steps), lines).unwrap();
            let steps = files.steps(200).unwrap();
            (steps.len(), steps.first().map(|s| s.step), steps.last().map(|s| s.step))
        };
        assert_eq!(write(0), (0, None, None));
        assert_eq!(write(200), (200, Some(0), Some(199)));
        assert_eq!(write(1000), (201, Some(0), Some(999)));
        std::fs::write(files.path(NAMES.steps), "{\"step\":0}\n{").unwrap();
        let error = files.steps(9).unwrap_err().to_string();
        assert!(error.contains("steps.jsonl is not a valid record"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn missing_files_are_none_and_invalid_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let files = RunFiles::new(&folder.path().join("none"));
        assert!(files.run().unwrap().is_none() && files.result().unwrap().is_none());
        assert!(files.timing().unwrap().is_empty() && files.epochs().is_err());
        let files = RunFiles::new(folder.path());
        files.write_text(NAMES.result, "{").unwrap();
        let error = files.result().unwrap_err().to_string();
        assert!(error.contains("result.json is not a valid record of a run"), "{error}");
        files.write(NAMES.run, &RunRecord::default()).unwrap();
        assert_eq!(files.run().unwrap().unwrap().schema, 0);
    }
}
