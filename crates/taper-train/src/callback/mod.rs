//! Callbacks: observers of a run.
//!
//! A callback receives events. It may stop a run or fail it, but never changes a result: a run with callbacks is
//! bit-identical to a run without.

mod early_stop;
mod files;
mod interrupt;
mod tensorboard;

pub use early_stop::EarlyStop;
pub use files::{EpochCsv, MaskTrace, StepLines, TimingCsv};
pub use interrupt::Interrupt;
pub use tensorboard::TensorBoard;

use crate::{EpochMetrics, Progress, Tally, error::TrainError};
use taper_prune::Pruner;

/// Whether the run continues after a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Continue.
    Continue,
    /// Stop the run cleanly, with a checkpoint.
    Stop,
}

impl Flow {
    /// `Stop` if one of the two is `Stop`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Stop { self } else { other }
    }
}

/// A completed step.
pub struct StepEvent<'a> {
    /// The step, counted from 0.
    pub step: u64,
    /// Its epoch, counted from 0.
    pub epoch: u64,
    /// Number of steps of the run.
    pub total_steps: u64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The fraction of that norm in dead filters, in `[0, 1]`.
    pub dead_grad_share: f64,
    /// Images in the batch.
    pub n_images: u64,
    /// Images in the batch that were classified correctly.
    pub n_correct: u64,
    /// The pruner, with the masks of this step; `None` for a dense run.
    pub pruner: Option<&'a Pruner>,
}

/// A completed epoch.
pub struct EpochEvent<'a> {
    /// All epochs so far; the last one has just been completed.
    pub history: &'a [EpochMetrics],
    /// Sums over the steps of the last epoch.
    pub tally: Tally,
}

impl EpochEvent<'_> {
    /// The completed epoch.
    ///
    /// # Panics
    /// If the history is empty. The training loop never passes an empty history.
    pub fn last(&self) -> &EpochMetrics {
        self.history.last().expect("an epoch is over")
    }
}

/// Observes a run.
pub trait Callback {
    /// Called when the run starts, or resumes from `progress`. The callback must delete its records of later steps,
    /// which a killed run can leave.
    ///
    /// # Errors
    /// An error ends the run.
    fn start(&mut self, _progress: &Progress) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// Called after each step.
    ///
    /// # Errors
    /// An error ends the run.
    fn step(&mut self, _event: &StepEvent) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// Called after each epoch.
    ///
    /// # Errors
    /// An error ends the run.
    fn epoch(&mut self, _event: &EpochEvent) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// Called before a checkpoint is written. The callback must sync its records to disk.
    ///
    /// # Errors
    /// An error ends the run.
    fn flush(&mut self) -> Result<(), TrainError> {
        Ok(())
    }

    /// Called when the run has finished or was stopped; not called if it failed.
    ///
    /// # Errors
    /// An error is returned as the error of the run.
    fn end(&mut self, _progress: &Progress) -> Result<(), TrainError> {
        Ok(())
    }
}

/// The callbacks of a run, called in order.
#[derive(Default)]
pub struct Callbacks(Vec<Box<dyn Callback>>);

impl Callbacks {
    /// Adds a callback.
    #[must_use]
    pub fn with(mut self, callback: impl Callback + 'static) -> Self {
        self.0.push(Box::new(callback));
        self
    }

    fn each(
        &mut self,
        mut call: impl FnMut(&mut dyn Callback) -> Result<Flow, TrainError>,
    ) -> Result<Flow, TrainError> {
        self.0
            .iter_mut()
            .try_fold(Flow::Continue, |flow, callback| Ok(flow.or(call(&mut **callback)?)))
    }
}

impl Callback for Callbacks {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        self.each(|c| c.start(progress))
    }

    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        self.each(|c| c.step(event))
    }

    fn epoch(&mut self, event: &EpochEvent) -> Result<Flow, TrainError> {
        self.each(|c| c.epoch(event))
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        self.each(|c| c.flush().map(|()| Flow::Continue)).map(|_| ())
    }

    fn end(&mut self, progress: &Progress) -> Result<(), TrainError> {
        self.each(|c| c.end(progress).map(|()| Flow::Continue)).map(|_| ())
    }
}
