//! Top-k masks that are chosen at regular steps.

use super::{Moment, Renewal};
use taper_schedule::Cadence;

/// Keeps the weights with the largest scores. Masks are chosen at the steps of a cadence, and when the schedule reaches
/// its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The steps at which masks are chosen.
    pub cadence: Cadence,
}

impl TopK {
    /// Before every forward pass, as in Feather.
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
