//! Masks that stay.

use super::{Moment, Renewal};

/// Chooses masks where the schedule asks for another sparsity than they have, and holds them otherwise: with a schedule of
/// one step, a mask that is chosen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold;

impl Renewal for Hold {
    fn chooses(&self, now: &Moment) -> bool {
        now.imposed != now.wanted
    }
}
