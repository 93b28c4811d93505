//! Masks that stay.

use super::{Moment, Renewal};

/// Chooses masks where the schedule asks for another sparsity than they have, and holds them otherwise: with a schedule of
/// one step, a mask that is chosen once; with phases, one for each sparse phase.
///
/// Momentum begins anew where the schedule returns to dense weights.
///
/// # References
/// Peste et al., "AC/DC" (arXiv:2106.12379), whose published runs reset the momentum of all parameters there.
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
