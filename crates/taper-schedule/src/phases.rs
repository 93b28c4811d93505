//! Alternating sparse and dense phases.

use crate::{PointsError, SparsitySchedule};
use taper_core::{Sparsity, Step};

/// Alternates between dense phases and sparse phases of one sparsity. The last phase is sparse.
///
/// ```text
/// dense                             t < begin
/// sparse, dense, sparse, …          begin ≤ t < end − last_dense   (`sparse` and `dense` steps alternate)
/// dense                             end − last_dense ≤ t < end
/// sparse                            t ≥ end
/// ```
///
/// If `end − last_dense` is not after `begin`, there are no earlier sparse phases. The sparsity falls after a sparse
/// phase, so this is not a [`ClosedForm`](crate::ClosedForm) and cannot be adaptive.
///
/// ```
/// use taper_core::{Sparsity, Step};
/// use taper_schedule::{Phases, SparsitySchedule};
///
/// let target = Sparsity::new(0.9)?;
/// let phases = Phases { target, begin: Step(1), sparse: 2, dense: 1, last_dense: 2, end: Step(8) };
/// let is_sparse: String = (0..10).map(|t| if phases.sparsity(Step(t)).is_dense() { '.' } else { 'x' }).collect();
/// assert_eq!(is_sparse, ".xx.xx..xx");
/// assert!(phases.check().is_ok());
/// # Ok::<(), taper_core::SparsityError>(())
/// ```
///
/// # References
/// Peste et al., "AC/DC: Alternating Compressed/DeCompressed Training of Deep Neural Networks" (arXiv:2106.12379).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phases {
    /// Sparsity of the sparse phases.
    pub target: Sparsity,
    /// The step at which the first sparse phase begins: the end of the warm-up.
    pub begin: Step,
    /// Steps of a sparse phase, at least 1.
    pub sparse: u64,
    /// Steps of a dense phase, at least 1.
    pub dense: u64,
    /// Steps of the dense phase before the last sparse one.
    pub last_dense: u64,
    /// The step at which the last sparse phase begins, at `begin` or later.
    pub end: Step,
}

impl Phases {
    /// Checks the lengths.
    ///
    /// # Errors
    /// [`PointsError`] if a phase has 0 steps, or `end` is before `begin`.
    pub fn check(&self) -> Result<(), PointsError> {
        if self.sparse == 0 || self.dense == 0 {
            let (sparse, dense) = (self.sparse, self.dense);
            return Err(PointsError(format!(
                "phases of {sparse} sparse and {dense} dense steps; each phase needs at least 1"
            )));
        }
        if self.end < self.begin {
            let (begin, end) = (self.begin, self.end);
            return Err(PointsError(format!(
                "phases from step {begin} to step {end}; the end must not be before the start"
            )));
        }
        Ok(())
    }

    fn is_sparse(&self, step: Step) -> bool {
        let last_dense = self.end.0.saturating_sub(self.last_dense);
        if step >= self.end {
            return true;
        }
        if step < self.begin || step.0 >= last_dense {
            return false;
        }
        let length = self.sparse.saturating_add(self.dense).max(1);
        (step.0 - self.begin.0) % length < self.sparse
    }
}

impl SparsitySchedule for Phases {
    fn sparsity(&self, step: Step) -> Sparsity {
        if self.is_sparse(step) { self.target } else { Sparsity::DENSE }
    }

    fn target(&self) -> Sparsity {
        self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first steps of the sparse phases, and of the dense phases after the warm-up.
    fn changes(phases: &Phases, total: u64) -> (Vec<u64>, Vec<u64>) {
        let is_sparse = |t| !phases.sparsity(Step(t)).is_dense();
        let starts = |sparse: bool| {
            (1..total).filter(|&t| is_sparse(t) == sparse && is_sparse(t - 1) != sparse).collect()
        };
        (starts(true), starts(false))
    }

    #[test]
    fn the_published_runs_change_at_their_epochs() {
        let target = Sparsity::new(0.9).unwrap();
        // One step per epoch: ResNet-50 on ImageNet, and the wide ResNet on CIFAR-100.
        let imagenet =
            Phases { target, begin: Step(10), sparse: 5, dense: 5, last_dense: 10, end: Step(85) };
        let (sparse, dense) = changes(&imagenet, 100);
        assert_eq!(sparse, [10, 20, 30, 40, 50, 60, 70, 85]);
        assert_eq!(dense, [15, 25, 35, 45, 55, 65, 75]);
        let cifar = Phases {
            target,
            begin: Step(10),
            sparse: 20,
            dense: 20,
            last_dense: 20,
            end: Step(170),
        };
        let (sparse, dense) = changes(&cifar, 200);
        assert_eq!((sparse, dense), (vec![10, 50, 90, 130, 170], vec![30, 70, 110, 150]));
    }

    #[test]
    fn phases_of_no_steps_and_an_end_before_the_begin_are_refused() {
        let target = Sparsity::new(0.9).unwrap();
        let good =
            Phases { target, begin: Step(3), sparse: 1, dense: 1, last_dense: 0, end: Step(3) };
        assert_eq!(good.check(), Ok(()));
        for (bad, wanted) in [
            (Phases { sparse: 0, ..good }, "phases of 0 sparse and 1 dense steps"),
            (Phases { dense: 0, ..good }, "phases of 1 sparse and 0 dense steps"),
            (Phases { end: Step(2), ..good }, "phases from step 3 to step 2"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
            bad.sparsity(Step(1));
        }
    }

    proptest! {
        #[test]
        fn sparsity_is_none_or_the_target_and_ends_there(
            begin in 0u64..40, sparse in 1u64..9, dense in 1u64..9, last_dense in 0u64..60, length in 0u64..60,
            target in 0.01..0.99f64, t in 0u64..120,
        ) {
            let target = Sparsity::new(target).unwrap();
            let end = Step(begin + length);
            let phases = Phases { target, begin: Step(begin), sparse, dense, last_dense, end };
            prop_assert!(phases.check().is_ok());
            let at = |t: u64| phases.sparsity(Step(t));
            prop_assert!(at(t) == target || at(t).is_dense());
            prop_assert_eq!(phases.target(), target);
            if t >= end.0 {
                prop_assert_eq!(at(t), target);
            } else if t < begin || t + last_dense >= end.0 {
                prop_assert!(at(t).is_dense());
            } else if t + last_dense + sparse + dense < end.0 {
                prop_assert_eq!(at(t), at(t + sparse + dense));
            }
            if begin + last_dense < end.0 {
                prop_assert_eq!(at(begin), target);
            }
            // No sparse phase between `begin` and the last dense phase is longer than `sparse`.
            let run = (t..end.0.saturating_sub(last_dense)).take_while(|&u| u >= begin && at(u) == target).count() as u64;
            prop_assert!(run <= sparse);
        }
    }
}
