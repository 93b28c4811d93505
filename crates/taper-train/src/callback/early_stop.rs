//! Early stopping.

use super::{Callback, EpochEvent, Flow};
use crate::{EpochMetrics, Progress, best_epoch, error::TrainError};
use taper_core::{Sparsity, Step};

/// Stops the run if the accuracy at the final sparsity has not improved for `patience` epochs. The accuracy is measured
/// on the validation images, or on the test images if none are held out.
///
/// Epochs count from the first one with the best accuracy, whether they are evaluated or not. The run stops only after
/// an evaluation. Epochs before the final sparsity do not count, because accuracy falls while the network is being
/// pruned. Nor do epochs that end before a step, since a network that alternates between sparse and dense phases has its
/// final sparsity several times. The decision depends only on the history: a resumed run stops at the same epoch as an
/// uninterrupted one.
#[derive(Clone, Copy, Debug)]
pub struct EarlyStop {
    /// Epochs without an improvement after which the run stops, evaluated or not; at least 1.
    pub patience: u64,
    /// The final sparsity of the schedule.
    pub target: Sparsity,
    /// The first step from which the schedule stays at it.
    pub from: Step,
}

impl EarlyStop {
    fn decide(self, history: &[EpochMetrics]) -> Flow {
        // The result of a run is its last epoch, so the run may stop only after an evaluated epoch.
        let is_last = |e: &&EpochMetrics| {
            e.sparsity_target >= self.target.get()
                && e.step >= self.from.0
                && !e.choice_accuracy().is_nan()
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
        // A run that was killed between its last checkpoint and its result must stop here.
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
        let target = Sparsity::new(0.9).unwrap();
        let stop = EarlyStop { patience: 2, target, from: Step::ZERO };
        let decide = |epochs: &[(f64, f64)]| stop.decide(&history(epochs));
        let mut epochs = vec![(0.5, 0.9), (0.9, 0.5), (0.9, 0.6), (0.9, 0.6)];
        assert_eq!(decide(&epochs), Flow::Continue, "one epoch without an improvement");
        epochs.push((0.9, 0.4));
        assert_eq!(decide(&epochs), Flow::Stop);
        epochs.push((0.9, 0.7));
        assert_eq!(decide(&epochs), Flow::Continue);
        assert_eq!(decide(&[]), Flow::Continue);
        // The first sparse phase of several.
        let mut phase = history(&[(0.9, 0.5), (0.9, 0.4), (0.9, 0.4)]);
        assert_eq!(EarlyStop { from: Step(9), ..stop }.decide(&phase), Flow::Continue);
        phase.last_mut().unwrap().step = 9;
        assert_eq!(EarlyStop { from: Step(9), ..stop }.decide(&phase), Flow::Stop);
        let early = [(0.5, 0.9), (0.5, 0.8), (0.5, 0.7), (0.5, 0.6)];
        assert_eq!(decide(&early), Flow::Continue, "the network is still being pruned");
        // If images are held out, their accuracy decides.
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
        // Every third epoch is evaluated; the third epoch is the best.
        let accuracies = [none, none, 0.6, none, none, 0.5, none, none, 0.6, none, none, 0.4];
        let stops_after = |patience| {
            let epochs = accuracies.map(|accuracy| (0.9, accuracy));
            let stop = EarlyStop { patience, target, from: Step::ZERO };
            (1..=epochs.len()).find(|&n| stop.decide(&history(&epochs[..n])) == Flow::Stop)
        };
        assert_eq!([1, 2, 3].map(stops_after), [Some(6); 3]);
        assert_eq!([4, 6].map(stops_after), [Some(9); 2]);
        assert_eq!([7, 9, 10].map(stops_after), [Some(12), Some(12), None]);
    }
}
