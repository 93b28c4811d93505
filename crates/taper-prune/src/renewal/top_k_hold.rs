//! Top-k masks that are held once the schedule reaches its target.

use super::{Moment, Renewal};
use taper_schedule::Cadence;

/// Keeps the weights with the largest scores. Masks are chosen at the steps of a cadence and when the schedule reaches
/// its target; this last mask is held.
///
/// # References
/// Zhu and Gupta, "To prune, or not to prune" (arXiv:1710.01878), where masks stay once the target is reached, like
/// those of JaxPruner after `update_end_step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopKHold {
    /// The steps at which masks are chosen.
    pub cadence: Cadence,
}

impl Renewal for TopKHold {
    fn chooses(&self, now: &Moment) -> bool {
        let is_final = now.imposed == now.target && now.wanted == now.target;
        now.is_arrival() || !is_final && self.cadence.is_due(now.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_core::{Sparsity, Step};

    #[test]
    fn the_mask_of_the_target_stays() {
        let [dense, half, most] = [0.0, 0.5, 0.9].map(|s| Sparsity::new(s).unwrap());
        let renewal = TopKHold { cadence: Cadence::every(10).unwrap() };
        let chooses = |step, imposed, wanted| {
            renewal.chooses(&Moment { step: Step(step), imposed, wanted, target: most })
        };
        assert!(chooses(0, dense, half) && chooses(10, half, half) && !chooses(11, half, half));
        assert!(chooses(13, half, most), "arrival between two of its steps");
        assert!(!chooses(20, most, most) && !chooses(21, most, most));
        // A schedule may fall again.
        assert!(chooses(20, most, half));
        assert!(!renewal.is_top_k() && renewal.holds());
    }
}
