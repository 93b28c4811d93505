//! Sparsity along a curve between two steps.

use crate::{ClosedForm, Curve, closed_form::closed_form_is_schedule};
use taper_core::{Sparsity, Step};

/// Sparsity along a [`Curve`] between two steps.
///
/// ```text
/// s(t) = 0, or from if it is held                            t < begin
///        from + (to − from)·curve((t − begin)/(end − begin))    begin ≤ t < end
///        to                                                  otherwise
/// ```
///
/// If `end` is not after `begin`, the ramp is a jump at `begin`.
///
/// # References
/// Feather's reference implementation uses `Cubic` from step 0 to half of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    curve: Curve,
    begin: Step,
    end: Step,
    from: Sparsity,
    to: Sparsity,
    is_held: bool,
}

impl Ramp {
    /// A ramp from dense to `to`.
    pub fn new(curve: Curve, begin: Step, end: Step, to: Sparsity) -> Self {
        Self { curve, begin, end, from: Sparsity::DENSE, to, is_held: false }
    }

    /// Feather's schedule: cubic from the first step to the middle of `total` steps.
    pub fn feather(target: Sparsity, total: u64) -> Self {
        Self::new(Curve::Cubic, Step::ZERO, Step(total / 2), target)
    }

    /// Starts at sparsity `from` instead of 0. `from` is limited to the final sparsity, since a ramp never falls.
    #[must_use]
    pub fn starting_at(self, from: Sparsity) -> Self {
        Self { from: if from > self.to { self.to } else { from }, ..self }
    }

    /// Has the sparsity of [`starting_at`](Self::starting_at) before `begin`, too, instead of 0.
    #[must_use]
    pub fn held(self) -> Self {
        Self { is_held: true, ..self }
    }
}

closed_form_is_schedule!(Ramp);

impl ClosedForm for Ramp {
    fn at(&self, time: f64) -> Sparsity {
        let (begin, end) = (self.begin().0 as f64, self.end().0 as f64);
        if time < begin {
            return if self.is_held { self.from } else { Sparsity::DENSE };
        }
        if time >= end {
            return self.to;
        }
        let (from, to) = (self.from.get(), self.to.get());
        // Rounding must not push a value past either end.
        let value = from + (to - from) * self.curve.at((time - begin) / (end - begin));
        Sparsity::saturating(value.clamp(from, to))
    }

    fn begin(&self) -> Step {
        self.begin
    }

    /// Equal to `begin` if the ramp is a jump.
    fn end(&self) -> Step {
        self.end.max(self.begin)
    }

    fn last(&self) -> Sparsity {
        self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SparsitySchedule;
    use proptest::prelude::*;

    fn values(ramp: Ramp, steps: impl IntoIterator<Item = u64>) -> Vec<f64> {
        steps.into_iter().map(|t| ramp.sparsity(Step(t)).get()).collect()
    }

    #[test]
    fn a_ramp_around_its_boundaries() {
        let half = Sparsity::new(0.5).unwrap();
        let ramp = Ramp::new(Curve::Linear, Step(2), Step(6), half);
        assert_eq!(values(ramp, 0..8), [0.0, 0.0, 0.0, 0.125, 0.25, 0.375, 0.5, 0.5]);
    }

    #[test]
    fn a_ramp_may_start_above_dense_but_not_before_its_begin() {
        let s = |v| Sparsity::new(v).unwrap();
        let ramp = Ramp::new(Curve::Linear, Step(1), Step(3), s(0.75)).starting_at(s(0.25));
        assert_eq!(values(ramp, 0..5), [0.0, 0.25, 0.5, 0.75, 0.75]);
        assert_eq!(values(ramp.held(), 0..5), [0.25, 0.25, 0.5, 0.75, 0.75]);
    }

    #[test]
    fn an_end_at_or_before_the_begin_is_a_jump() {
        let ramp = Ramp::new(Curve::Cubic, Step(3), Step(3), Sparsity::new(0.9).unwrap());
        assert_eq!(values(ramp, 2..5), [0.0, 0.9, 0.9]);
        let ramp = Ramp::new(Curve::Cubic, Step(3), Step(1), Sparsity::new(0.9).unwrap());
        assert_eq!(values(ramp, [0, 1, 2, 3]), [0.0, 0.0, 0.0, 0.9]);
    }

    #[test]
    fn one_shot_jumps_at_its_begin() {
        let ramp = Ramp::new(Curve::OneShot, Step(2), Step(9), Sparsity::new(0.9).unwrap());
        assert_eq!(values(ramp, [1, 2, 8, 9]), [0.0, 0.9, 0.9, 0.9]);
    }

    proptest! {
        #[test]
        fn sparsity_never_falls_nor_passes_the_target(
            begin in 0u64..50, length in 0u64..50, from in 0.0..=1.0f64, to in 0.0..=1.0f64, t in 0u64..120, is_held: bool,
        ) {
            for (_, curve) in Curve::ALL {
                let ramp = Ramp::new(curve, Step(begin), Step(begin + length), Sparsity::new(to).unwrap())
                    .starting_at(Sparsity::new(from).unwrap());
                let ramp = if is_held { ramp.held() } else { ramp };
                let (now, next) = (ramp.sparsity(Step(t)), ramp.sparsity(Step(t + 1)));
                prop_assert!(now <= next && next <= ramp.target());
            }
        }
    }
}
