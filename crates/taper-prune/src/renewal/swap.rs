//! Masks of which a share is swapped now and then.

use super::{GrowInit, Moment, Renewal, SwapDecay};
use crate::criterion::{Criterion, Gradient};
use taper_core::Step;

/// Swaps a share of each layer's kept weights every so many steps: the pruner's criterion says which leave, another one
/// which enter. The share may fall on the way.
///
/// Masks follow the schedule as well: at the steps of a swap, and at the first step, they are chosen anew if it asks for
/// another sparsity. With a schedule of one step the sparsity of each layer stays what it was at the begin.
///
/// # References
/// Mocanu et al., "SET" (arXiv:1707.04780), with weights that enter at random and a constant share; Evci et al., "Rigging
/// the Lottery" (arXiv:1911.11134), by the gradient; Liu et al., "GraNet" (arXiv:2106.10404), with a schedule that rises;
/// Yuan et al., "MEST" (arXiv:2110.14032), whose soft memory bound is `is_soft`. Without `grow` it is RigL's `static`.
#[derive(Debug)]
pub struct Swap {
    /// Steps from one swap to the next, at least 1.
    pub every: u64,
    /// Share of the kept weights at the begin, in `(0, 1]`.
    pub share: f64,
    /// How the share falls between the two steps that follow.
    pub decay: SwapDecay,
    /// The step before which nothing is swapped; the first swap is at least `every` steps after step 0.
    pub from: Step,
    /// The step from which on nothing is swapped.
    pub end: Step,
    /// The last step of the run, in which nothing is swapped either: weights that enter there have no step to move in.
    pub last: Step,
    /// What weights enter by; without it the very weights that have left enter again, so that masks stay and weights begin
    /// anew.
    pub grow: Option<Box<dyn Criterion>>,
    /// What the first masks are chosen by, if not by the pruner's criterion.
    pub begin: Option<Box<dyn Criterion>>,
    /// What weights begin with that enter; without it what the remainder has made of them, or 0 if masks stay.
    pub grow_init: Option<GrowInit>,
    /// Whether weights enter on top of those that the schedule asks for and as many leave in the next swap, rather than both at
    /// once. From `end` on masks are those of the schedule.
    pub is_soft: bool,
}

impl Default for Swap {
    /// As in RigL, without an end.
    fn default() -> Self {
        Self {
            every: 100,
            share: 0.3,
            decay: SwapDecay::Cosine,
            from: Step::ZERO,
            end: Step(u64::MAX),
            last: Step(u64::MAX),
            grow: Some(Box::new(Gradient)),
            begin: None,
            grow_init: None,
            is_soft: false,
        }
    }
}

impl Renewal for Swap {
    fn chooses(&self, now: &Moment) -> bool {
        let is_due =
            now.imposed.is_dense() || now.is_arrival() || now.step.0.is_multiple_of(self.every);
        is_due && now.imposed != now.wanted
    }

    fn swaps(&self, step: Step) -> Option<f64> {
        let is_due = step > Step::ZERO && step.0.is_multiple_of(self.every);
        let (from, end) = (self.from.0, self.end.0);
        if self.is_soft && step == self.end {
            return Some(0.0);
        }
        let x = || (step.0 - from) as f64 / (end - from) as f64;
        let is_due = is_due && self.from <= step && step < self.end.min(self.last);
        is_due.then(|| self.share * self.decay.at(step, x()))
    }

    fn grows_by(&self) -> Option<&dyn Criterion> {
        self.grow.as_deref()
    }

    fn is_static(&self) -> bool {
        self.grow.is_none()
    }

    fn grow_init(&self) -> Option<GrowInit> {
        self.grow_init.or_else(|| self.is_static().then(GrowInit::default))
    }

    fn exceeds_until(&self) -> Option<Step> {
        self.is_soft.then_some(self.end)
    }

    fn begins_by(&self) -> Option<&dyn Criterion> {
        self.begin.as_deref()
    }

    fn check(&self) -> Result<(), String> {
        let Self { every, share, .. } = self;
        match (*every, *share > 0.0 && *share <= 1.0) {
            (0, _) => Err("a swap every 0 steps is never; give at least 1".into()),
            (_, false) => Err(format!("a share of {share} to swap is outside (0, 1]")),
            _ => Ok(()),
        }?;
        self.decay.check()?;
        self.grow_init.map_or(Ok(()), |init| init.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{criterion::Random, renewal::Factor};
    use taper_core::Sparsity;

    fn swap(decay: SwapDecay) -> Swap {
        let begin = Some(Box::new(Random { seed: 0 }) as Box<dyn Criterion>);
        Swap { decay, end: Step(400), begin, ..Swap::default() }
    }

    #[test]
    fn the_share_falls_along_its_curve() {
        let at = |step| swap(SwapDecay::Cosine).swaps(Step(step));
        assert_eq!([0, 1, 99, 150, 400, 500].map(at), [None; 6]);
        let close = |step, want: f64| (at(step).unwrap() - want).abs() < 1e-15;
        assert!(close(100, 0.15 * (1.0 + 0.5f64.sqrt())) && close(200, 0.15));
        assert_eq!(swap(SwapDecay::Constant).swaps(Step(300)), Some(0.3));
        // A quarter of the way is left: 0.3 · 0.25².
        let power = swap(SwapDecay::Power(2.0)).swaps(Step(300)).unwrap();
        assert!((power - 0.01875).abs() < 1e-15);
        // From step 200 on, half of the way at step 300.
        let late = Swap { from: Step(200), ..swap(SwapDecay::Power(1.0)) };
        assert_eq!([100, 199].map(|step| late.swaps(Step(step))), [None; 2]);
        assert_eq!([200, 300].map(|step| late.swaps(Step(step))), [Some(0.3), Some(0.15)]);
        // The share that there would be in the last step is known, and nothing is swapped.
        let short = Swap { last: Step(200), ..swap(SwapDecay::Cosine) };
        assert_eq!(short.swaps(Step(100)), at(100));
        assert_eq!(short.swaps(Step(200)), None);
        for power in [0.0, f64::INFINITY] {
            assert!(
                swap(SwapDecay::Power(power))
                    .check()
                    .unwrap_err()
                    .contains("give a number above 0")
            );
        }
        let cosine = || swap(SwapDecay::Cosine);
        assert!(cosine().check().is_ok());
        assert!(Swap { every: 0, ..cosine() }.check().unwrap_err().contains("every 0 steps"));
        for share in [0.0, 1.5, f64::NAN] {
            assert!(Swap { share, ..cosine() }.check().unwrap_err().contains("outside (0, 1]"));
        }
    }

    #[test]
    fn the_share_falls_at_milestones_or_along_a_function() {
        let steps = |factor| SwapDecay::Steps { factor, milestones: vec![Step(200), Step(350)] };
        let at = |decay, step| swap(decay).swaps(Step(step));
        assert_eq!([100, 200, 300].map(|step| at(steps(0.5), step)), [0.3, 0.15, 0.15].map(Some));
        assert!(swap(steps(1.0)).check().unwrap_err().contains("multiplied by 1 at each"));
        assert_eq!(swap(steps(0.0)).check(), Ok(()));
        // What is no number, or outside of [0, 1], does not reach masks.
        let along = |factor: fn(Step) -> f64| SwapDecay::Along(Factor::new(factor));
        assert_eq!(at(along(|step| 100.0 / step.0 as f64), 200), Some(0.15));
        let others = [|_| f64::NAN, |_| -1.0, |_| 2.0].map(|factor| at(along(factor), 200));
        assert_eq!(others, [0.0, 0.0, 0.3].map(Some));
    }

    #[test]
    fn a_soft_bound_is_met_at_the_end() {
        let soft = Swap { is_soft: true, end: Step(250), ..swap(SwapDecay::Constant) };
        let at = |step| soft.swaps(Step(step));
        assert_eq!([200, 249, 250, 251, 300].map(at), [Some(0.3), None, Some(0.0), None, None]);
        assert_eq!(soft.exceeds_until(), Some(Step(250)));
        assert_eq!(swap(SwapDecay::Constant).exceeds_until(), None);
    }

    #[test]
    fn masks_are_chosen_where_the_schedule_asks_for_others() {
        let [dense, half, most] = [0.0, 0.5, 0.9].map(|s| Sparsity::new(s).unwrap());
        let chooses = |step, imposed, wanted| {
            swap(SwapDecay::Cosine).chooses(&Moment {
                step: Step(step),
                imposed,
                wanted,
                target: most,
            })
        };
        assert!(chooses(0, dense, most) && chooses(3, dense, half) && chooses(100, half, most));
        assert!(!chooses(0, dense, dense) && !chooses(100, most, most));
        // A ramp is followed at the steps of a swap, and its end at once.
        assert!(!chooses(101, half, Sparsity::new(0.6).unwrap()) && chooses(101, half, most));
    }
}
