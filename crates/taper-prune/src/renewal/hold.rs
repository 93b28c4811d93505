//! Masks that are held.

use super::{Moment, Renewal};

/// Chooses masks only if the sparsity of the schedule differs from that of the masks, and holds them otherwise. With a
/// one-shot schedule, a mask is chosen once; with phases, once for each sparse phase.
///
/// Momentum is reset when the schedule returns to dense weights.
///
/// # References
/// Peste et al., "AC/DC" (arXiv:2106.12379); their published runs reset the momentum of all parameters at that point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold;

impl Renewal for Hold {
    fn chooses(&self, now: &Moment) -> bool {
        now.imposed != now.wanted
    }

    fn restarts(&self, now: &Moment) -> bool {
        now.wanted.is_dense() && !now.imposed.is_dense()
    }
}
