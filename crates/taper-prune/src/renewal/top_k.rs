//! Masks that are chosen anew now and then.

use super::{Moment, Renewal};
use taper_schedule::Cadence;

/// Keeps the best weights at the steps of a cadence, and as soon as the schedule arrives at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The steps.
    pub cadence: Cadence,
}

impl TopK {
    /// Before every forward pass, as Feather does.
    pub const EVERY_STEP: Self = Self { cadence: Cadence::EVERY_STEP };
}

impl Renewal for TopK {
    fn chooses(&self, now: &Moment) -> bool {
        now.is_arrival() || self.cadence.is_due(now.step)
    }

    fn is_top_k(&self) -> bool {
        true
    }

    fn holds(&self) -> bool {
        self.cadence != Cadence::EVERY_STEP
    }
}
