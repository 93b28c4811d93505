//! How unstable a mask is.

use taper_core::MaskFeedback;

/// What of a mask's change counts as instability; 0 where nothing changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signal {
    /// Weights that entered over those that are kept: 0 for nested masks, which is what a ramp alone gives.
    #[default]
    Entered,
    /// One less the Jaccard index of the kept sets, `1 − |A ∩ B| / |A ∪ B|`. Shrinking counts too.
    Jaccard,
    /// Weights that entered or left, over the kept ones before and after. Shrinking counts too.
    Hamming,
}

impl Signal {
    /// Names as in experiment files, with their signals.
    pub const ALL: [(&'static str, Self); 3] =
        [("entered", Self::Entered), ("jaccard", Self::Jaccard), ("hamming", Self::Hamming)];

    /// The signal of a change, in `[0, 1]`; 0 if nothing was kept before and after.
    pub fn of(self, seen: &MaskFeedback) -> f64 {
        let share =
            |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let n_changed = seen.n_entered + seen.n_left;
        match self {
            Self::Entered => seen.instability(),
            Self::Jaccard => share(n_changed, seen.n_before + seen.n_entered),
            Self::Hamming => share(n_changed, seen.n_before + seen.n_kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_core::Step;

    #[test]
    fn signals_of_a_change() {
        let seen = MaskFeedback {
            step: Step(5),
            n_weights: 100,
            n_before: 20,
            n_kept: 10,
            n_entered: 2,
            n_left: 12,
        };
        assert_eq!(Signal::Entered.of(&seen), 0.2);
        assert_eq!(Signal::Jaccard.of(&seen), 14.0 / 22.0);
        assert_eq!(Signal::Hamming.of(&seen), 14.0 / 30.0);
        let nothing = MaskFeedback { n_before: 0, n_kept: 0, n_entered: 0, n_left: 0, ..seen };
        assert!(Signal::ALL.iter().all(|(_, signal)| signal.of(&nothing) == 0.0));
    }
}
