//! The best epoch of a run.

use crate::EpochMetrics;

/// The epoch with the best accuracy at the final sparsity; the first one if several are equal. `None` if none of these
/// epochs was evaluated.
///
/// Only the epochs after the last change of sparsity are compared, because accuracy falls while a network is being
/// pruned.
///
/// The accuracy is measured on the validation images, or on the test images if none are held out; see
/// [`EpochMetrics::choice_accuracy`].
pub fn best_epoch(history: &[EpochMetrics]) -> Option<&EpochMetrics> {
    let sparsity = history.last()?.sparsity_target;
    let accuracy = EpochMetrics::choice_accuracy;
    let first = history.iter().rposition(|e| e.sparsity_target != sparsity).map_or(0, |i| i + 1);
    let rivals = history[first..].iter().filter(|e| !accuracy(e).is_nan());
    rivals.reduce(|best, e| if accuracy(e) > accuracy(best) { e } else { best })
}

/// Epochs with these target sparsities and test accuracies.
#[cfg(test)]
pub(crate) fn history(epochs: &[(f64, f64)]) -> Vec<EpochMetrics> {
    let epoch = |(epoch, &(sparsity_target, test_accuracy)): (usize, &(f64, f64))| EpochMetrics {
        epoch: epoch as u64,
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
    };
    epochs.iter().enumerate().map(epoch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_epoch_is_the_first_of_the_best_at_the_last_sparsity() {
        let best = |epochs: &[(f64, f64)]| best_epoch(&history(epochs)).map(|e| e.epoch);
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[(0.5, 0.9), (0.9, 0.1)]), Some(1));
        assert_eq!(best(&[(0.9, 0.1), (0.9, f64::NAN), (0.9, 0.2)]), Some(2));
        assert_eq!(best(&[(0.9, 0.2), (0.9, 0.2)]), Some(0));
        assert_eq!(best(&[(0.9, 0.2), (0.9, f64::NAN)]), Some(0));
        assert_eq!(best(&[(0.9, f64::NAN)]), None);
        // Epochs at the final sparsity do not count if dense epochs follow them.
        assert_eq!(best(&[(0.9, 0.5), (0.0, 0.7), (0.9, 0.3), (0.9, 0.2)]), Some(2));
        assert_eq!(best(&[(0.9, 0.5), (0.0, 0.7)]), Some(1));
        // If images are held out, their accuracy decides.
        let mut held_out = history(&[(0.9, f64::NAN), (0.9, f64::NAN)]);
        (held_out[0].validation_accuracy, held_out[1].validation_accuracy) = (0.2, 0.1);
        assert_eq!(best_epoch(&held_out).map(|e| e.epoch), Some(0));
    }
}
