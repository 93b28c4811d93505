//! The training loop.

use crate::{
    Callback, Callbacks, EpochEvent, EpochMetrics, Evaluation, Flow, Progress, Run, StepEvent,
    Tally,
    checkpoint::{Checkpoints, Snapshot},
    error::TrainError,
    eval::Evaluated,
    run::StepDone,
};
use taper_core::Step;
use taper_distributed::Ranks;
use taper_prune::Report;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All steps were done.
    Finished(Progress),
    /// A callback ended the run. If the run writes checkpoints, it wrote one.
    Stopped(Progress),
}

/// Trains from `progress` to the end of the recipe. `progress` comes from a checkpoint; a new run starts with the
/// default.
///
/// With several ranks, every rank calls this function with the same run and progress. If a callback of one rank stops
/// the run, all ranks stop. Only one rank passes `checkpoints`; the others pass `None`.
///
/// # Errors
/// [`TrainError`]. A recipe that fails [`Recipe::check`](crate::Recipe::check) is an error before the first step. After
/// an error, the checkpoints written so far remain.
pub fn train(
    run: &mut Run,
    mut progress: Progress,
    watch: &mut Callbacks,
    mut checkpoints: Option<&mut Checkpoints>,
) -> Result<Outcome, TrainError> {
    run.recipe.check(run.train)?;
    let params = run.model.params();
    if checkpoints.is_some() {
        // An optimizer that cannot be saved is an error now, not after an epoch.
        run.optimizer.state(params)?;
    }
    let ranks = run.ranks.clone();
    ranks.expect_images(run.train.n_images_of(0))?;
    expect_same(run, &progress)?;
    let (total, per_epoch) =
        (run.recipe.total_steps(run.train), run.train.batches_per_epoch() as u64);
    let epochs = progress.history.len() as u64;
    // The steps that are possible after `epochs` complete epochs and a part of the next one.
    let possible = (epochs * per_epoch).min(total)..=((epochs + 1) * per_epoch).min(total);
    if per_epoch == 0 || !possible.contains(&progress.step) {
        return Err(TrainError::Progress { step: progress.step, epochs, per_epoch, total });
    }
    let mut flow = of_all(&ranks, watch.start(&progress)?)?;
    if flow == Flow::Stop && progress.step < total {
        watch.end(&progress)?;
        return Ok(Outcome::Stopped(progress));
    }
    while progress.history.len() as u64 * per_epoch < total {
        let epoch = progress.history.len() as u64;
        let end = total.min((epoch + 1) * per_epoch);
        let left = end - progress.step;
        let (first, sent) = ((progress.step - epoch * per_epoch) as usize, ranks.sent());
        let of_rank = ranks.clone();
        let parts =
            run.train.parts_from(epoch, first, move |_, n| of_rank.images(n).unwrap_or(0..n));
        for (number, part) in (first..).zip(parts.take(left as usize)) {
            let step = Step(progress.step);
            let lr = run.learning_rate.at(step.0);
            let done = run.step_of(step, part, run.train.n_images_of(number), lr)?;
            progress.step += 1;
            let n_live = run.pruner.as_ref().map_or_else(|| run.n_prunable(), |p| p.n_live());
            progress.tally.add(&done, n_live);
            let wanted = watch.step(&StepEvent {
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
            flow = of_all(&ranks, wanted)?;
            if number == first {
                expect_same(run, &progress)?;
            }
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
        if ranks.size() > 1 {
            let steps = progress.step - epoch * per_epoch - first as u64;
            let bytes = (ranks.sent() - sent) / steps.max(1);
            tracing::info!(epoch, bytes_per_step = bytes, "sent by rank {}", ranks.rank());
        }
        if progress.step == end {
            let tally = std::mem::take(&mut progress.tally);
            let is_evaluated = (epoch + 1).is_multiple_of(run.recipe.eval_every) || end == total;
            let metrics = metrics_of(run, epoch, progress.step, &tally, is_evaluated)?;
            progress.history.push(metrics);
            let wanted = watch.epoch(&EpochEvent { history: &progress.history, tally })?;
            flow = of_all(&ranks, flow.or(wanted))?;
            expect_same(run, &progress)?;
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

impl Tally {
    /// Adds a step in which `n_live` weights had a gradient.
    fn add(&mut self, done: &StepDone, n_live: u64) {
        self.loss += done.loss * done.n_images as f64;
        self.n_correct += done.n_correct;
        self.n_images += done.n_images;
        self.grad_norm += done.norm.all;
        self.dead_grad_share += done.norm.dead_share();
        self.n_live += n_live as f64;
        self.n_steps += 1;
    }
}

/// The metrics of an epoch whose last step has just been done: its sums, and the current network. `step` is the number
/// of steps so far.
fn metrics_of(
    run: &Run,
    epoch: u64,
    step: u64,
    tally: &Tally,
    is_evaluated: bool,
) -> Result<EpochMetrics, TrainError> {
    let (gates, report) = run.refreshed()?;
    let found = match is_evaluated {
        true => {
            let Run { model, device, ref loss, ref kernels, .. } = *run;
            Evaluated { model, gates: &gates, loss: &**loss, device, kernels }
                .by(&run.ranks, run.validation.unwrap_or(run.test))?
        }
        false => Evaluation::NONE,
    };
    let (what, [validation, test]) = match run.validation {
        Some(_) => ("the validation loss", [found, Evaluation::NONE]),
        None => ("the test loss", [Evaluation::NONE, found]),
    };
    if is_evaluated && !found.loss.is_finite() {
        let place = match run.model.params().first_not_finite()? {
            Some(entry) => format!("parameter {} is not finite", entry.name),
            None => "every parameter is finite".into(),
        };
        return Err(TrainError::NotFinite { what, value: found.loss, step: step - 1, place });
    }
    Ok(EpochMetrics {
        epoch,
        step,
        lr: run.learning_rate.at(step - 1),
        sparsity_target: run.pruner.as_ref().map_or(0.0, |p| p.sparsity().get()),
        sparsity: report.as_ref().map_or(0.0, |r| r.sparsity().get()),
        n_kept: report.as_ref().map_or(run.n_prunable(), Report::n_kept),
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
    })
}

/// `Stop` if the callbacks of any rank return `Stop`.
fn of_all(ranks: &Ranks, wanted: Flow) -> Result<Flow, TrainError> {
    Ok(if ranks.any(wanted == Flow::Stop)? { Flow::Stop } else { Flow::Continue })
}

/// Checks that all ranks have the same weights, masks and optimizer state.
fn expect_same(run: &Run, progress: &Progress) -> Result<(), TrainError> {
    if run.ranks.size() > 1 {
        let digest = Snapshot::of(run, progress).digest()?;
        let remedy = "start all ranks with the same program, recipe and run folder, and use parameters only in layers of taper-nn";
        run.ranks.expect_same(digest, "weights or masks", remedy)?;
    }
    Ok(())
}

fn mean(sum: f64, n: u64) -> f64 {
    if n == 0 { f64::NAN } else { sum / n as f64 }
}
