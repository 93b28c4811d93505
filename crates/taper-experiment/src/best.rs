//! The network of the best epoch as a pruned checkpoint, for `train.keep_best`.

use crate::{baked::Baked, setup::Setup};
use std::path::Path;
use taper::{
    record::{NAMES, result::BestResult},
    train::{Progress, best_epoch, checkpoint::Checkpoints},
};

/// Writes the network of the best epoch, from the training checkpoint of that epoch. Returns its epoch and accuracies;
/// `None` without a best epoch, or if it was trained without `train.keep_best`, which may change on resuming.
///
/// Afterwards, the network of `setup` has the weights of that epoch.
pub(crate) fn write(
    setup: &Setup,
    checkpoints: &Checkpoints,
    progress: &Progress,
    folder: &Path,
) -> anyhow::Result<Option<BestResult>> {
    let Some(best) = best_epoch(&progress.history) else { return Ok(None) };
    let kept = checkpoints.best()?.filter(|kept| kept.progress.step == best.step);
    let Some(kept) = kept else {
        tracing::warn!(
            "the best epoch, {}, was trained without train.keep_best, so {} is not written",
            best.epoch + 1,
            NAMES.best
        );
        return Ok(None);
    };
    let mut run = setup.run()?;
    kept.restore(&mut run)?;
    let mut best = *best;
    if setup.validation.is_some() {
        // The epoch is chosen already, so test images cannot bias the choice.
        let test = run.test_now()?;
        (best.test_accuracy, best.test_loss) = (test.accuracy, test.loss);
    }
    let Baked { checkpoint, .. } = Baked::of(run, setup)?;
    checkpoint.of_epoch(&best).save(&folder.join(NAMES.best))?;
    Ok(Some(BestResult {
        file: NAMES.best.into(),
        epoch: best.epoch,
        test_accuracy: best.test_accuracy,
        validation_accuracy: best.validation_accuracy,
    }))
}
