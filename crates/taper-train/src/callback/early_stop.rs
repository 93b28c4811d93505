//! Ending a run that no longer improves.

use super::{Callback, EpochEvent, Flow};
use crate::{EpochMetrics, Progress, best_epoch, error::TrainError};
use taper_core::Sparsity;

/// Stops when the accuracy on validation images, or on test images where none are held out, has not risen for `patience`
/// epochs at the final sparsity.
///
/// Epochs are counted, evaluated or not, from the first one of the best accuracy; the run stops after an evaluation.
/// Epochs before the final sparsity do not count: accuracy falls there because the network is being pruned. The
/// decision is a function of the history alone, so a resumed run stops where an uninterrupted one does.
#[derive(Clone, Copy, Debug)]
pub struct EarlyStop {
    /// Epochs to wait for a better one, evaluated or not; at least 1.
    pub patience: u64,
    /// The final sparsity.
    pub target: Sparsity,
}

impl EarlyStop {
    fn decide(self, history: &[EpochMetrics]) -> Flow {
        // A run that stops has a result, so its last epoch is one with an evaluation.
        let is_last = |e: &&EpochMetrics| {
            e.sparsity_target >= self.target.get() && !e.choice_accuracy().is_nan()
        };
        let Some((last, best)) = history.last().filter(is_last).zip(best_epoch(history)) else {
            return Flow::Continue;
        };
        match last.epoch - best.epoch >= self.patience.max(1) {
            true => Flow::Stop,
            false => Flow::Continue,
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
    use crate::best::history;

    #[test]
    fn it_waits_for_the_final_sparsity_and_then_for_its_patience() {
        let stop = EarlyStop { patience: 2, target: Sparsity::new(0.9).unwrap() };
        let decide = |epochs: &[(f64, f64)]| stop.decide(&history(epochs));
        let mut epochs = vec![(0.5, 0.9), (0.9, 0.5), (0.9, 0.6), (0.9, 0.6)];
        assert_eq!(decide(&epochs), Flow::Continue, "one epoch without a better one");
        epochs.push((0.9, 0.4));
        assert_eq!(decide(&epochs), Flow::Stop);
        epochs.push((0.9, 0.7));
        assert_eq!(decide(&epochs), Flow::Continue);
        assert_eq!(decide(&[]), Flow::Continue);
        let early = [(0.5, 0.9), (0.5, 0.8), (0.5, 0.7), (0.5, 0.6)];
        assert_eq!(decide(&early), Flow::Continue, "the network is still being pruned");
        // Held-out images decide where there are any.
        let held_out = |accuracies: [f64; 4]| {
            let mut epochs = history(&[(0.9, f64::NAN); 4]);
            for (epoch, accuracy) in epochs.iter_mut().zip(accuracies) {
                epoch.validation_accuracy = accuracy;
            }
            stop.decide(&epochs)
        };
        assert_eq!(held_out([0.1, 0.5, 0.4, 0.4]), Flow::Stop);
        assert_eq!(held_out([0.1, 0.5, 0.4, 0.6]), Flow::Continue);
    }

    #[test]
    fn it_counts_epochs_and_stops_after_an_evaluation() {
        let target = Sparsity::new(0.9).unwrap();
        let none = f64::NAN;
        // Every third epoch is evaluated, and the third is the best.
        let accuracies = [none, none, 0.6, none, none, 0.5, none, none, 0.6, none, none, 0.4];
        let stops_after = |patience| {
            let epochs = accuracies.map(|accuracy| (0.9, accuracy));
            let stop = EarlyStop { patience, target };
            (1..=epochs.len()).find(|&n| stop.decide(&history(&epochs[..n])) == Flow::Stop)
        };
        assert_eq!([1, 2, 3].map(stops_after), [Some(6); 3]);
        assert_eq!([4, 6].map(stops_after), [Some(9); 2]);
        assert_eq!([7, 9, 10].map(stops_after), [Some(12), Some(12), None]);
    }
}
