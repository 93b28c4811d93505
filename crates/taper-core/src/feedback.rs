//! Counts of one mask update.

use crate::{Sparsity, Step};

/// Counts of one mask update, over all prunable weights.
///
/// With A the kept set before and B the kept set after: `n_before` = |A|, `n_kept` = |B|,
/// `n_entered` = |B \ A|, `n_left` = |A \ B|.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskFeedback {
    /// The step for which the mask was updated.
    pub step: Step,
    /// Number of prunable weights.
    pub n_weights: u64,
    /// Kept weights before the update.
    pub n_before: u64,
    /// Kept weights after the update.
    pub n_kept: u64,
    /// Weights that were pruned before and are kept now.
    pub n_entered: u64,
    /// Weights that were kept before and are pruned now.
    pub n_left: u64,
}

impl MaskFeedback {
    /// The sparsity after the update, computed from the counts.
    pub fn sparsity(&self) -> Sparsity {
        Sparsity::of(self.n_kept, self.n_weights)
    }

    /// Mask churn: the fraction of kept weights that were pruned before, `n_entered / n_kept`, in `[0, 1]`. It is 0 for
    /// nested masks (fixed weights and a rising sparsity), and 0 if nothing is kept.
    pub fn instability(&self) -> f64 {
        if self.n_kept == 0 { 0.0 } else { self.n_entered as f64 / self.n_kept as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinkage_alone_is_stable_and_churn_is_not() {
        let nested = MaskFeedback {
            step: Step(1),
            n_weights: 100,
            n_before: 20,
            n_kept: 10,
            n_entered: 0,
            n_left: 10,
        };
        assert_eq!(nested.instability(), 0.0);
        assert_eq!(nested.sparsity().get(), 0.9);
        let churn = MaskFeedback { n_before: 10, n_entered: 4, n_left: 4, ..nested };
        assert_eq!(churn.instability(), 0.4);
    }
}
