//! Measures of mask churn.

use taper_core::MaskFeedback;

/// A measure of mask churn; 0 if the mask does not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signal {
    /// `n_entered / n_kept`: 0 for nested masks, as with fixed weights and a rising sparsity.
    #[default]
    Entered,
    /// Jaccard distance of the kept sets, `1 − |A ∩ B| / |A ∪ B|`. Also above 0 if a mask only shrinks.
    Jaccard,
    /// `(n_entered + n_left) / (n_before + n_kept)`: normalised Hamming distance. Also above 0 if a mask only shrinks.
    Hamming,
}

impl Signal {
    /// Signals with their names in experiment files.
    pub const ALL: [(&'static str, Self); 3] =
        [("entered", Self::Entered), ("jaccard", Self::Jaccard), ("hamming", Self::Hamming)];

    /// The churn of a mask change, in `[0, 1]`; 0 if both masks are empty.
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
