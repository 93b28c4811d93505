//! When and from what the gradient of pruned weights is computed.

use crate::error::PruneError;

/// When and from what the gradient of pruned weights is computed; that of kept ones is exact in every step.
///
/// It is the costliest part of a sparse step: all else needs the kept weights alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PrunedUpdate {
    /// In every step, from the whole batch, as published.
    #[default]
    EveryStep,
    /// In every so many steps, that many times; in the others pruned weights get none. What clips the gradient's norm must
    /// count it once.
    EveryNth(u64),
    /// In every step, from a share of the batch's blocks of sixteen images, scaled up: right on average, with a norm that
    /// its variance inflates.
    Sampled {
        /// Share of the blocks, in `(0, 1]`.
        share: f64,
        /// Decides, with the step, which blocks.
        seed: u64,
    },
    /// For the pruned weights closest to the cut: as many as `margin` times the kept ones. The others get none.
    Live {
        /// At least 0.
        margin: f64,
    },
}

impl PrunedUpdate {
    pub(crate) fn check(self) -> Result<(), PruneError> {
        let refuse = |reason: String| Err(PruneError::Update { reason });
        match self {
            Self::EveryNth(0) => refuse("every 0 steps is never; give at least 1".into()),
            Self::Sampled { share, .. } if !(share > 0.0 && share <= 1.0) => {
                refuse(format!("a share of {share} is outside (0, 1]"))
            }
            Self::Live { margin } if !(margin >= 0.0 && margin.is_finite()) => {
                refuse(format!("a margin of {margin} is not a number of at least 0"))
            }
            _ => Ok(()),
        }
    }
}
