//! Ending a run that no longer improves.

use super::{Callback, EpochEvent, Flow};
use crate::{EpochMetrics, Progress, error::TrainError};
use taper_core::Sparsity;

/// Stops when the accuracy on validation images, or on test images where none are held out, has not risen for `patience` epochs at the final sparsity.
///
/// Epochs before the final sparsity do not count: accuracy falls there because the network is being pruned. The
/// decision is a function of the history alone, so a resumed run stops where an uninterrupted one does.
#[derive(Clone, Copy, Debug)]
pub struct EarlyStop {
    /// Epochs to wait for a better one, at least 1.
    pub patience: u64,
    /// The final sparsity.
    pub target: Sparsity,
}

impl EarlyStop {
    fn decide(self, history: &[EpochMetrics]) -> Flow {
        let Some(last) = history.last().filter(|e| e.sparsity_target >= self.target.get()) else {
            return Flow::Continue;
        };
        let at_target: Vec<f64> = history
            .iter()
            .filter(|e| e.sparsity_target == last.sparsity_target)
            .map(EpochMetrics::choice_accuracy)
            .filter(|accuracy| !accuracy.is_nan())
            .collect();
        let best = at_target.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let Some(first_best) = at_target.iter().position(|&a| a == best) else {
            return Flow::Continue;
        };
        if (at_target.len() - 1 - first_best) as u64 >= self.patience.max(1) {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}

impl Callback for EarlyStop {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        // A run that was killed between its last checkpoint and its result is to end here, not to go on.
        Ok(self.decide(&progress.history))
    }

    fn epoch(&mut self, event: &EpochEvent) -> Result<Flow, TrainError> {
        Ok(self.decide(event.history))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_the_final_sparsity_and_then_for_its_patience() {
        let epoch = |sparsity_target: f64, test_accuracy: f64| EpochMetrics {
            epoch: 0,
            step: 0,
            lr: 0.0,
            sparsity_target,
            sparsity: 0.0,
            n_kept: 0,
            train_loss: 0.0,
            train_accuracy: 0.0,
            test_loss: 0.0,
            test_accuracy,
            grad_norm: 0.0,
            dead_grad_share: 0.0,
            n_dead_filters: 0,
            n_dropped: 0,
            n_live: 0.0,
            validation_loss: f64::NAN,
            validation_accuracy: f64::NAN,
        };
        let stop = EarlyStop { patience: 2, target: Sparsity::new(0.9).unwrap() };
        let mut history = vec![epoch(0.5, 0.9), epoch(0.9, 0.5), epoch(0.9, 0.6), epoch(0.9, 0.6)];
        assert_eq!(stop.decide(&history), Flow::Continue, "one epoch without a better one");
        history.push(epoch(0.9, 0.4));
        assert_eq!(stop.decide(&history), Flow::Stop);
        history.push(epoch(0.9, 0.7));
        assert_eq!(stop.decide(&history), Flow::Continue);
        assert_eq!(stop.decide(&[]), Flow::Continue);
        let early = [epoch(0.5, 0.9), epoch(0.5, 0.8), epoch(0.5, 0.7), epoch(0.5, 0.6)];
        assert_eq!(stop.decide(&early), Flow::Continue, "the network is still being pruned");
        // Held out images decide, whatever the test images would say.
        let held_out =
            |validation_accuracy| EpochMetrics { validation_accuracy, ..epoch(0.9, f64::NAN) };
        assert_eq!(stop.decide(&[0.5, 0.4, 0.4].map(held_out)), Flow::Stop);
        assert_eq!(stop.decide(&[0.5, 0.4, 0.6].map(held_out)), Flow::Continue);
    }
}
