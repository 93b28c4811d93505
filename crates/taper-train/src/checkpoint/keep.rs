//! The training checkpoints in the folder of a run: writing, keeping and finding them.

use super::{CheckpointError, Snapshot, TrainingCheckpoint};
use crate::best_epoch;
use serde_json::Value;
use std::path::{Path, PathBuf};
use taper_record::remove_partial_files;

/// Name of the checkpoint of the best epoch.
const BEST: &str = "best.safetensors";

/// The checkpoints of a run: `step-<steps done>.safetensors` for the last few, and optionally `best.safetensors`.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    recipe: Value,
    every: Option<u64>,
    keep_last: usize,
    keep_best: bool,
}

impl Checkpoints {
    /// Checkpoints in `folder`, which is created if needed. By default, one is written at the end of each epoch, and
    /// the last two are kept. Each contains the resolved recipe.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn new(folder: &Path, recipe: Value) -> Result<Self, CheckpointError> {
        std::fs::create_dir_all(folder).map_err(|source| CheckpointError::Io {
            action: "create the folder for",
            path: folder.into(),
            source,
        })?;
        Ok(Self { folder: folder.into(), recipe, every: None, keep_last: 2, keep_best: false })
    }

    /// Also writes a checkpoint after every `steps` steps.
    #[must_use]
    pub fn every(mut self, steps: Option<u64>) -> Self {
        self.every = steps.filter(|&n| n > 0);
        self
    }

    /// Sets how many of the last checkpoints are kept, at least 1.
    #[must_use]
    pub fn keep_last(mut self, n: usize) -> Self {
        self.keep_last = n.max(1);
        self
    }

    /// Also keeps the checkpoint of the best epoch at the final sparsity ([`best_epoch`]); see [`best`](Self::best).
    #[must_use]
    pub fn keep_best(mut self, keep: bool) -> Self {
        self.keep_best = keep;
        self
    }

    /// Whether a checkpoint within the epoch is due after this many steps.
    pub fn is_due(&self, steps_done: u64) -> bool {
        self.every.is_some_and(|n| steps_done.is_multiple_of(n))
    }

    /// Writes a checkpoint, then deletes the old ones.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&mut self, snapshot: &Snapshot) -> Result<(), CheckpointError> {
        let file = snapshot.to_file(&self.recipe)?;
        let progress = snapshot.progress();
        let is_best = progress.tally.n_steps == 0
            && best_epoch(&progress.history).is_some_and(|best| best.step == progress.step);
        // The best one first: if the process is killed between the two, the resumed run repeats the end of this epoch
        // and writes both.
        if self.keep_best && is_best {
            file.save(&self.folder.join(BEST))?;
        }
        file.save(&self.path(progress.step))?;
        let mut steps = steps_in(&self.folder)?;
        // Later ones are damaged: the run did not resume from them.
        steps.retain(|&step| step <= progress.step);
        for &step in &steps[..steps.len().saturating_sub(self.keep_last)] {
            let path = self.path(step);
            std::fs::remove_file(&path).map_err(|source| CheckpointError::Io {
                action: "delete",
                path,
                source,
            })?;
        }
        Ok(())
    }

    /// Loads the newest readable checkpoint; `None` if there are no checkpoints. Deletes temporary files of a killed
    /// run.
    ///
    /// # Errors
    /// If the folder cannot be read, or none of the checkpoints is usable. The error is that of the newest checkpoint.
    pub fn latest(&self) -> Result<Option<TrainingCheckpoint>, CheckpointError> {
        remove_partial_files(&self.folder);
        let mut first_error = None;
        for step in steps_in(&self.folder)?.into_iter().rev() {
            match TrainingCheckpoint::load(&self.path(step)) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    tracing::warn!("{error}; trying the previous checkpoint");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// Loads the checkpoint of a step. Another process may be writing to the folder.
    ///
    /// # Errors
    /// If the checkpoint is missing or damaged.
    pub fn of_step(folder: &Path, step: u64) -> Result<TrainingCheckpoint, CheckpointError> {
        TrainingCheckpoint::load(&folder.join(name_of(step)))
    }

    /// Loads the checkpoint of the best epoch, if [`keep_best`](Self::keep_best) has written one.
    ///
    /// # Errors
    /// If the checkpoint cannot be read.
    pub fn best(&self) -> Result<Option<TrainingCheckpoint>, CheckpointError> {
        let path = self.folder.join(BEST);
        path.exists().then(|| TrainingCheckpoint::load(&path)).transpose()
    }

    /// The paths of the checkpoints in a folder: those of steps in ascending order, then the best. Empty if there is no
    /// folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut files: Vec<PathBuf> =
            steps_in(folder)?.into_iter().map(|step| folder.join(name_of(step))).collect();
        files.extend(Some(folder.join(BEST)).filter(|best| best.exists()));
        Ok(files)
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(name_of(step))
    }
}

fn name_of(step: u64) -> String {
    format!("step-{step:08}.safetensors")
}

/// The steps of the checkpoints in a folder, in ascending order. Files with only similar names are ignored.
fn steps_in(folder: &Path) -> Result<Vec<u64>, CheckpointError> {
    let unreadable = |source| CheckpointError::Io { action: "list", path: folder.into(), source };
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let step = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".safetensors"));
        let step = step.and_then(|n| n.parse::<u64>().ok());
        steps.extend(step.filter(|&step| name_of(step) == name));
    }
    steps.sort_unstable();
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_similar_names_are_not_checkpoints() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(Checkpoints::files(&path("nowhere")).unwrap(), Vec::<PathBuf>::new());
        for name in ["step-7.safetensors", "step-00000030.safetensors.bak", "step-a.safetensors"] {
            std::fs::write(path(name), "mine").unwrap();
        }
        assert_eq!(Checkpoints::files(folder.path()).unwrap(), Vec::<PathBuf>::new());
        let ours = ["step-00000007.safetensors", "step-123456789.safetensors", BEST].map(path);
        for path in &ours {
            std::fs::write(path, "").unwrap();
        }
        assert_eq!(Checkpoints::files(folder.path()).unwrap(), ours);
    }
}
