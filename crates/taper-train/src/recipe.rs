//! The hyper-parameters of a run, except those of the pruner.

use crate::{Cosine, TrainError, Warmup};
use taper_data::Loader;

/// The hyper-parameters of a run, except those of the pruner. The defaults are Feather's protocol on CIFAR-100.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Number of epochs.
    pub epochs: u64,
    /// Maximum number of steps. If it ends the run earlier, schedules are scaled to this length.
    pub max_steps: Option<u64>,
    /// Initial learning rate of the cosine schedule of [`Run::new`](crate::Run::new).
    pub lr: f64,
    /// Epochs of linear learning-rate warm-up, fewer than the epochs of the run.
    pub warmup_epochs: f64,
    /// Momentum of SGD, in `[0, 1)`.
    pub momentum: f64,
    /// Weight decay of convolutions and linear layers. Biases and batch norm are not decayed.
    pub weight_decay: f64,
    /// Maximum norm of the gradient; `None` does not clip.
    pub clip_norm: Option<f64>,
    /// Label smoothing: the fraction of the target that is spread over all classes, in `[0, 1)`.
    pub label_smoothing: f64,
    /// Epochs between two evaluations, at least 1. The last epoch is always evaluated.
    pub eval_every: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            epochs: 160,
            max_steps: None,
            lr: 0.1,
            warmup_epochs: 0.0,
            momentum: 0.9,
            weight_decay: 5e-4,
            clip_norm: Some(3.0),
            label_smoothing: 0.0,
            eval_every: 1,
        }
    }
}

impl Recipe {
    /// Number of steps of the run.
    pub fn total_steps(&self, train: &Loader) -> u64 {
        let all = self.epochs * train.batches_per_epoch() as u64;
        self.max_steps.map_or(all, |max| all.min(max))
    }

    /// Checks the numbers that depend on the length of an epoch.
    ///
    /// # Errors
    /// [`TrainError::Warmup`] if the warm-up does not end before the run does. The learning rate would then never reach
    /// its full value.
    pub fn check(&self, train: &Loader) -> Result<(), TrainError> {
        let (warmup, total) = (self.warmup_steps(train), self.total_steps(train));
        match warmup > 0 && warmup >= total {
            true => Err(TrainError::Warmup { epochs: self.warmup_epochs, warmup, total }),
            false => Ok(()),
        }
    }

    /// Number of steps of the learning-rate warm-up.
    pub fn warmup_steps(&self, train: &Loader) -> u64 {
        (self.warmup_epochs * train.batches_per_epoch() as f64).round() as u64
    }

    /// The learning rate of the run: linear warm-up, and one cosine over the whole run.
    pub fn learning_rate(&self, train: &Loader) -> Warmup<Cosine> {
        let then = Cosine { lr: self.lr, total_steps: self.total_steps(train) };
        Warmup { steps: self.warmup_steps(train), then }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LearningRate;
    use taper_data::{Augment, Dataset, LoaderConfig, OpenOptions};

    #[test]
    fn a_warm_up_ends_before_the_run_does() {
        let options = OpenOptions { limit: Some(64), ..Default::default() };
        let data = Dataset::open("digits", &options).unwrap();
        let config = LoaderConfig::train(16, Augment::None, data.normalisation.clone(), 0);
        let train = Loader::new(data.train.clone(), config).unwrap();
        // Four steps an epoch.
        let check = |warmup_epochs, max_steps| {
            let recipe = Recipe { epochs: 3, max_steps, warmup_epochs, ..Recipe::default() };
            recipe.check(&train).map_err(|error| error.to_string())
        };
        assert_eq!(check(0.0, Some(1)), Ok(()));
        assert_eq!(check(2.75, None), Ok(()));
        assert_eq!(
            check(3.0, None).unwrap_err(),
            "warmup_epochs is 3, which is 12 steps, and the run has 12; choose a shorter warm-up or a longer run"
        );
        assert!(check(1e300, None).is_err());
        assert_eq!(check(1.0, Some(5)), Ok(()));
        assert!(check(1.0, Some(4)).unwrap_err().contains("is 4 steps, and the run has 4"));
        // The learning rate is annealed over the steps that are done.
        let recipe = Recipe { epochs: 3, max_steps: Some(5), lr: 0.5, ..Recipe::default() };
        let cosine = Cosine { lr: 0.5, total_steps: 5 };
        for step in 0..5 {
            assert_eq!(recipe.learning_rate(&train).at(step), cosine.at(step), "step {step}");
        }
    }
}
