//! Stopping a run from a signal handler or another thread.

use super::{Callback, Flow, StepEvent};
use crate::error::TrainError;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Stops the run after the current step, once [`raise`](Self::raise) was called. A signal handler or another thread can
/// call it on a clone.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Requests a stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Callback for Interrupt {
    fn step(&mut self, _event: &StepEvent) -> Result<Flow, TrainError> {
        Ok(if self.is_raised() { Flow::Stop } else { Flow::Continue })
    }
}
