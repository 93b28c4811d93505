//! The progress of a run: a progress bar on a terminal, and a line for each epoch.

use indicatif::ProgressBar;
use taper::train::{Callback, EpochEvent, Flow, Progress, StepEvent, TrainError};

use crate::term;

/// Shows a progress bar over the steps, and prints a line for each epoch on standard error.
#[derive(Default)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    resumed_at: u64,
}

impl Callback for ProgressLine {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        self.resumed_at = progress.step;
        if progress.step > 0 {
            term::line(&format!("resumed after step {}", progress.step));
        }
        Ok(Flow::Continue)
    }

    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = term::step_bar(event.total_steps);
            bar.set_position(self.resumed_at);
            bar.reset_eta();
            bar
        });
        let sparsity = event.pruner.map_or(0.0, |p| p.report().sparsity().get());
        bar.set_message(format!("loss {:.3}, sparsity {:.2} %", event.loss, 100.0 * sparsity));
        bar.inc(1);
        Ok(Flow::Continue)
    }

    fn epoch(&mut self, event: &EpochEvent) -> Result<Flow, TrainError> {
        let e = event.last();
        let kind = if e.validation_accuracy.is_nan() { "test" } else { "validation" };
        let measured = match e.choice_accuracy() {
            accuracy if accuracy.is_nan() => String::new(),
            accuracy => format!(", {kind} accuracy {:.2} %", 100.0 * accuracy),
        };
        let dead = match e.n_dead_filters {
            0 => String::new(),
            n => format!(", {n} dead filters ({:.0} % of the gradient)", 100.0 * e.dead_grad_share),
        };
        term::line(&format!(
            "epoch {:>3}: loss {:.4}, train accuracy {:.2} %{measured}, sparsity {:.2} %{dead}",
            e.epoch + 1,
            e.train_loss,
            100.0 * e.train_accuracy,
            100.0 * e.sparsity
        ));
        Ok(Flow::Continue)
    }

    fn end(&mut self, _progress: &Progress) -> Result<(), TrainError> {
        self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
        Ok(())
    }
}
