//! Which training checkpoints stay in the folder of a run.

use super::{CheckpointError, Snapshot, TrainingCheckpoint};
use crate::best_epoch;
use serde_json::Value;
use std::path::{Path, PathBuf};
use taper_record::remove_partial_files;

/// Name of the checkpoint of the best epoch.
const BEST: &str = "best.safetensors";

/// The checkpoints of a run: `step-<steps done>.safetensors` for the last few, `best.safetensors` if wanted.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    recipe: Value,
    every: Option<u64>,
    keep_last: usize,
    keep_best: bool,
}

impl Checkpoints {
    /// Checkpoints in `folder`, made if needed, at the end of each epoch; the last two are kept. The resolved recipe
    /// goes into each.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(folder: &Path, recipe: Value) -> Result<Self, CheckpointError> {
        std::fs::create_dir_all(folder).map_err(|source| CheckpointError::Io {
            action: "make the folder for",
            path: folder.into(),
            source,
        })?;
        Ok(Self { folder: folder.into(), recipe, every: None, keep_last: 2, keep_best: false })
    }

    /// Writes one after every so many steps, too.
    #[must_use]
    pub fn every(mut self, steps: Option<u64>) -> Self {
        self.every = steps.filter(|&n| n > 0);
        self
    }

    /// Keeps the last so many, at least 1.
    #[must_use]
    pub fn keep_last(mut self, n: usize) -> Self {
        self.keep_last = n.max(1);
        self
    }

    /// Also keeps the one of the best epoch at the final sparsity ([`best_epoch`]); see [`best`](Self::best).
    #[must_use]
    pub fn keep_best(mut self, keep: bool) -> Self {
        self.keep_best = keep;
        self
    }

    /// Whether one is due in the middle of an epoch, after so many steps.
    pub fn is_due(&self, steps_done: u64) -> bool {
        self.every.is_some_and(|n| steps_done.is_multiple_of(n))
    }

    /// Writes a checkpoint, then deletes the ones that are no longer kept.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&mut self, snapshot: &Snapshot) -> Result<(), CheckpointError> {
        let file = snapshot.to_file(&self.recipe)?;
        let progress = snapshot.progress();
        let is_best = progress.tally.n_steps == 0
            && best_epoch(&progress.history).is_some_and(|best| best.step == progress.step);
        // The best one first: a kill between the two then repeats this epoch's end, and with it both.
        if self.keep_best && is_best {
            file.save(&self.folder.join(BEST))?;
        }
        file.save(&self.path(progress.step))?;
        let steps = steps_in(&self.folder)?;
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

    /// The newest checkpoint that can be read, if there is one. Temporary files of a killed run are deleted.
    ///
    /// # Errors
    /// If the folder cannot be read, or none of several can be used; the newest one's reason is given.
    pub fn latest(&self) -> Result<Option<TrainingCheckpoint>, CheckpointError> {
        remove_partial_files(&self.folder);
        let mut first_error = None;
        for step in steps_in(&self.folder)?.into_iter().rev() {
            match TrainingCheckpoint::load(&self.path(step)) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    tracing::warn!("{error}; trying the one before");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// The checkpoint of a step in a folder, which another process may be writing to.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn of_step(folder: &Path, step: u64) -> Result<TrainingCheckpoint, CheckpointError> {
        TrainingCheckpoint::load(&folder.join(name_of(step)))
    }

    /// The checkpoint of the best epoch that was trained with [`keep_best`](Self::keep_best), if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn best(&self) -> Result<Option<TrainingCheckpoint>, CheckpointError> {
        let path = self.folder.join(BEST);
        path.exists().then(|| TrainingCheckpoint::load(&path)).transpose()
    }

    /// The checkpoints in a folder, by their names: those of steps, ascending, and the best. None if there is no folder.
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

/// Steps of the checkpoints in a folder, ascending. Other files of similar names are somebody else's.
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
    fn only_files_of_the_very_names_are_checkpoints() {
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
