//! When and from what the gradient of pruned weights is computed.

use crate::error::PruneError;

/// When and from what the gradient of pruned weights is computed. The gradient of kept weights is exact in every step.
///
/// This gradient is the most expensive part of a sparse step: everything else needs only the kept weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PrunedUpdate {
    /// In every step, from the whole batch, as published.
    #[default]
    EveryStep,
    /// In every n-th step, multiplied by n; in the other steps pruned weights receive no gradient. The norm for
    /// gradient clipping must count it once.
    EveryNth(u64),
    /// In every step, from a random fraction of the batch's blocks of 16 images, scaled up. It is unbiased, but its
    /// variance increases its norm.
    Sampled {
        /// Fraction of the blocks, in `(0, 1]`.
        share: f64,
        /// Seed of the choice of blocks; it also depends on the step.
        seed: u64,
    },
    /// Only for the pruned weights of the largest magnitude, whatever the criterion: `margin` times the number of kept
    /// weights of a group. The other pruned weights receive no gradient.
    Live {
        /// At least 0.
        margin: f64,
    },
}

impl PrunedUpdate {
    pub(crate) fn check(self) -> Result<(), PruneError> {
        let refuse = |reason: String| Err(PruneError::Update { reason });
        match self {
            Self::EveryNth(0) => refuse("the interval is 0 steps; give at least 1".into()),
            Self::Sampled { share, .. } if !(share > 0.0 && share <= 1.0) => {
                refuse(format!("the fraction of blocks is {share}, outside (0, 1]"))
            }
            Self::Live { margin } if !(margin >= 0.0 && margin.is_finite()) => {
                refuse(format!("the margin is {margin}, outside [0, inf)"))
            }
            _ => Ok(()),
        }
    }
}
