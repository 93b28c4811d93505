//! The loop.

use crate::{
    Callback, Callbacks, EpochEvent, EpochMetrics, Evaluation, Flow, Progress, Run, StepEvent,
    checkpoint::{Checkpoints, Snapshot},
    error::TrainError,
    evaluate,
};
use taper_core::Step;
use taper_prune::Report;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All steps were done.
    Finished(Progress),
    /// A callback ended it; a checkpoint was written if there is a place for them.
    Stopped(Progress),
}

/// Trains from `progress` (of a checkpoint, or the default for a new run) to the end of the recipe.
///
/// # Errors
/// [`TrainError`], for a recipe that fails [`Recipe::check`](crate::Recipe::check) before the first step; a checkpoint written before stays.
pub fn train(
    run: &mut Run,
    mut progress: Progress,
    watch: &mut Callbacks,
    mut checkpoints: Option<&mut Checkpoints>,
) -> Result<Outcome, TrainError> {
    run.recipe.check(run.train)?;
    let params = run.model.params();
    if checkpoints.is_some() {
        // An optimizer that cannot be saved is refused now, rather than after an epoch.
        run.optimizer.state(params)?;
    }
    let n_prunable = run.n_prunable();
    let (total, per_epoch) =
        (run.recipe.total_steps(run.train), run.train.batches_per_epoch() as u64);
    let epochs = progress.history.len() as u64;
    // What a whole number of epochs and a part of the next one can have come to.
    let possible = (epochs * per_epoch).min(total)..=((epochs + 1) * per_epoch).min(total);
    if per_epoch == 0 || !possible.contains(&progress.step) {
        return Err(TrainError::Progress { step: progress.step, epochs, per_epoch, total });
    }
    let mut flow = watch.start(&progress)?;
    if flow == Flow::Stop && progress.step < total {
        watch.end(&progress)?;
        return Ok(Outcome::Stopped(progress));
    }
    while progress.history.len() as u64 * per_epoch < total {
        let epoch = progress.history.len() as u64;
        let end = total.min((epoch + 1) * per_epoch);
        let left = end - progress.step;
        for batch in run
            .train
            .epoch_from(epoch, (progress.step - epoch * per_epoch) as usize)
            .take(left as usize)
        {
            let step = Step(progress.step);
            let lr = run.learning_rate.at(step.0);
            let done = run.step(step, batch, lr)?;
            progress.step += 1;
            progress.tally.loss += done.loss * done.n_images as f64;
            progress.tally.n_correct += done.n_correct;
            progress.tally.n_images += done.n_images;
            progress.tally.grad_norm += done.norm.all;
            progress.tally.dead_grad_share += done.norm.dead_share();
            progress.tally.n_live += run.pruner.as_ref().map_or(n_prunable, |p| p.n_live()) as f64;
            progress.tally.n_steps += 1;
            flow = watch.step(&StepEvent {
                step: step.0,
                epoch,
                total_steps: total,
                loss: done.loss,
                lr,
                grad_norm: done.norm.all,
                dead_grad_share: done.norm.dead_share(),
                n_images: done.n_images,
                n_correct: done.n_correct,
                pruner: run.pruner.as_ref(),
            })?;
            if flow == Flow::Stop {
                break;
            }
            if let Some(checkpoints) =
                checkpoints.as_deref_mut().filter(|c| c.is_due(progress.step))
            {
                watch.flush()?;
                checkpoints.save(&Snapshot::of(run, &progress))?;
            }
        }
        if progress.step == end {
            let (gates, report) = run.refreshed()?;
            let is_evaluated = (epoch + 1).is_multiple_of(run.recipe.eval_every) || end == total;
            let found = match is_evaluated {
                true => {
                    let split = run.validation.unwrap_or(run.test);
                    evaluate(run.model, &gates, split, &*run.loss, run.device, &run.kernels)?
                }
                false => Evaluation::NONE,
            };
            let (what, [validation, test]) = match run.validation {
                Some(_) => ("the validation loss", [found, Evaluation::NONE]),
                None => ("the test loss", [Evaluation::NONE, found]),
            };
            if is_evaluated && !found.loss.is_finite() {
                let place = match params.first_not_finite()? {
                    Some(entry) => format!("parameter {} is not finite", entry.name),
                    None => "every parameter is finite".into(),
                };
                let (value, step) = (found.loss, progress.step - 1);
                return Err(TrainError::NotFinite { what, value, step, place });
            }
            let tally = std::mem::take(&mut progress.tally);
            progress.history.push(EpochMetrics {
                epoch,
                step: progress.step,
                lr: run.learning_rate.at(progress.step - 1),
                sparsity_target: run.pruner.as_ref().map_or(0.0, |p| p.sparsity().get()),
                sparsity: report.as_ref().map_or(0.0, |r| r.sparsity().get()),
                n_kept: report.as_ref().map_or(n_prunable, Report::n_kept),
                train_loss: mean(tally.loss, tally.n_images),
                train_accuracy: mean(tally.n_correct as f64, tally.n_images),
                test_loss: test.loss,
                test_accuracy: test.accuracy,
                grad_norm: mean(tally.grad_norm, tally.n_steps),
                dead_grad_share: mean(tally.dead_grad_share, tally.n_steps),
                n_dead_filters: report.as_ref().map_or(0, Report::n_dead_filters),
                n_dropped: report.as_ref().map_or(0, Report::n_dropped),
                n_live: mean(tally.n_live, tally.n_steps),
                validation_loss: validation.loss,
                validation_accuracy: validation.accuracy,
            });
            flow = flow.or(watch.epoch(&EpochEvent { history: &progress.history, tally })?);
        }
        let is_over = progress.step == end || flow == Flow::Stop;
        if let Some(checkpoints) = checkpoints.as_deref_mut().filter(|_| is_over) {
            watch.flush()?;
            checkpoints.save(&Snapshot::of(run, &progress))?;
        }
        if flow == Flow::Stop && progress.step < total {
            watch.end(&progress)?;
            return Ok(Outcome::Stopped(progress));
        }
    }
    watch.end(&progress)?;
    Ok(Outcome::Finished(progress))
}

fn mean(sum: f64, n: u64) -> f64 {
    if n == 0 { f64::NAN } else { sum / n as f64 }
}
