//! Which training checkpoints stay in the folder of a run.

use super::{CheckpointError, Snapshot, TrainingCheckpoint};
use crate::{EpochMetrics, remove_partial_files};
use serde_json::Value;
use std::path::{Path, PathBuf};

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

    /// Also keeps the one of the best accuracy among the epochs at the final sparsity: on validation images, or on test
    /// images where none are held out.
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
        // The best one first: a kill between the two then repeats this epoch's end, and with it both.
        if self.keep_best && progress.tally.n_steps == 0 && is_best(&progress.history) {
            file.save(&self.folder.join("best.safetensors"))?;
        }
        file.save(&self.path(progress.step))?;
        let steps = self.steps()?;
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
        for step in self.steps()?.into_iter().rev() {
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

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:08}.safetensors"))
    }

    /// Steps of the checkpoints there are, ascending.
    fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let unreadable =
            |source| CheckpointError::Io { action: "list", path: self.folder.clone(), source };
        let mut steps = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            steps.extend(
                name.strip_prefix("step-")
                    .and_then(|n| n.strip_suffix(".safetensors")?.parse::<u64>().ok()),
            );
        }
        steps.sort_unstable();
        Ok(steps)
    }
}

/// Whether the last epoch has the best accuracy of those at the sparsity that it has; the first of equals is
/// the best.
fn is_best(history: &[EpochMetrics]) -> bool {
    let Some((last, before)) = history.split_last() else { return false };
    let best = last.choice_accuracy();
    !best.is_nan()
        && before
            .iter()
            .filter(|e| e.sparsity_target == last.sparsity_target)
            .all(|e| e.choice_accuracy().is_nan() || e.choice_accuracy() < best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(sparsity_target: f64, test_accuracy: f64) -> EpochMetrics {
        EpochMetrics {
            epoch: 0,
            step: 0,
            lr: 0.1,
            sparsity_target,
            sparsity: sparsity_target,
            n_kept: 0,
            train_loss: 1.0,
            train_accuracy: 0.0,
            test_loss: 1.0,
            test_accuracy,
            grad_norm: 1.0,
            dead_grad_share: 0.0,
            n_dead_filters: 0,
            n_dropped: 0,
            n_live: 0.0,
            validation_loss: f64::NAN,
            validation_accuracy: f64::NAN,
        }
    }

    #[test]
    fn the_best_epoch_is_the_best_at_its_own_sparsity() {
        assert!(!is_best(&[]));
        assert!(is_best(&[epoch(0.5, 0.9), epoch(0.9, 0.1)]));
        assert!(is_best(&[epoch(0.9, 0.1), epoch(0.9, f64::NAN), epoch(0.9, 0.2)]));
        assert!(!is_best(&[epoch(0.9, 0.2), epoch(0.9, 0.2)]));
        assert!(!is_best(&[epoch(0.9, f64::NAN)]));
        let held_out =
            |validation_accuracy| EpochMetrics { validation_accuracy, ..epoch(0.9, f64::NAN) };
        assert!(is_best(&[0.1, 0.2].map(held_out)) && !is_best(&[0.2, 0.2].map(held_out)));
    }
}
