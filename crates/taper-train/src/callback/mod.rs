//! Watching a run.
//!
//! A callback sees events and may stop a run or fail it; it never changes a number: a run with callbacks equals a
//! run without, bit for bit.

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

/// What a callback wants of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End cleanly, with a checkpoint.
    Stop,
}

impl Flow {
    /// `Stop` if either is.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Stop { self } else { other }
    }
}

/// A step that was just done.
pub struct StepEvent<'a> {
    /// The step, from 0.
    pub step: u64,
    /// Its epoch, from 0.
    pub epoch: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Learning rate used.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Share of that norm that is in dead filters, in `[0, 1]`.
    pub dead_grad_share: f64,
    /// Images of the batch.
    pub n_images: u64,
    /// Images of the batch that were right.
    pub n_correct: u64,
    /// The pruner as it was in this step; `None` for a dense run.
    pub pruner: Option<&'a Pruner>,
}

/// An epoch that is over.
pub struct EpochEvent<'a> {
    /// All epochs so far; the last is the one that is over.
    pub history: &'a [EpochMetrics],
    /// Sums over its steps.
    pub tally: Tally,
}

impl EpochEvent<'_> {
    /// The epoch that is over.
    ///
    /// # Panics
    /// If the history is empty, which the loop never passes.
    pub fn last(&self) -> &EpochMetrics {
        self.history.last().expect("an epoch is over")
    }
}

/// Watches a run.
pub trait Callback {
    /// The run starts, or goes on from `progress`: records of later steps, left by a killed run, must go.
    ///
    /// # Errors
    /// An error ends the run.
    fn start(&mut self, _progress: &Progress) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// A step is done.
    ///
    /// # Errors
    /// An error ends the run.
    fn step(&mut self, _event: &StepEvent) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// An epoch is over.
    ///
    /// # Errors
    /// An error ends the run.
    fn epoch(&mut self, _event: &EpochEvent) -> Result<Flow, TrainError> {
        Ok(Flow::Continue)
    }

    /// A checkpoint is about to be written: what was recorded so far must be safe.
    ///
    /// # Errors
    /// An error ends the run.
    fn flush(&mut self) -> Result<(), TrainError> {
        Ok(())
    }

    /// The run finished or was stopped; not called if it failed.
    ///
    /// # Errors
    /// An error is the run's.
    fn end(&mut self, _progress: &Progress) -> Result<(), TrainError> {
        Ok(())
    }
}

/// The callbacks of a run, called in order.
#[derive(Default)]
pub struct Callbacks(Vec<Box<dyn Callback>>);

impl Callbacks {
    /// Adds one.
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
