//! Ending a run from outside.

use super::{Callback, Flow, StepEvent};
use crate::error::TrainError;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Stops the run after the step in which the flag was raised, from a signal handler or another thread.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the run to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Callback for Interrupt {
    fn step(&mut self, _event: &StepEvent) -> Result<Flow, TrainError> {
        Ok(if self.is_raised() { Flow::Stop } else { Flow::Continue })
    }
}
