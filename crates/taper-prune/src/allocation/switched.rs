//! One allocation up to a sparsity, and another one above it.

use super::{Allocation, AllocationError, Group, Layer};
use taper_core::Sparsity;

/// Uses one allocation up to a sparsity, and another one above it. For example, a network may begin with ERK at the
/// initial sparsity of a ramp, and then be pruned by one global threshold.
///
/// A layer may gain weights when the second allocation takes over. Permanently pruned weights do not return, and
/// weights that are 0 rank below all others.
///
/// # References
/// GraNet's code (arXiv:2106.10404).
#[derive(Debug)]
pub struct Switched<A, B> {
    /// The last sparsity of the first allocation.
    pub until: Sparsity,
    /// The allocation up to `until`.
    pub first: A,
    /// The allocation above `until`.
    pub then: B,
}

impl<A: Allocation, B: Allocation> Allocation for Switched<A, B> {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        match overall <= self.until {
            true => self.first.allocate(layers, overall),
            false => self.then.allocate(layers, overall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Erk, Global,
        tests::{infos, layers},
    };
    use super::*;

    #[test]
    fn the_second_takes_over_above_the_sparsity() {
        let infos = infos(&[&[10, 10], &[20, 20]]);
        let layers = layers(&infos);
        let half = Sparsity::saturating(0.5);
        let switched = Switched { until: half, first: Erk::default(), then: Global };
        let at = |sparsity| switched.allocate(&layers, sparsity).unwrap();
        assert_eq!(at(half), Erk::default().allocate(&layers, half).unwrap());
        let more = Sparsity::saturating(0.51);
        assert_eq!(at(more), Global.allocate(&layers, more).unwrap());
    }
}
