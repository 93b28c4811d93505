//! Prune-and-regrow.

use super::{GrowInit, Moment, Renewal, SwapDecay};
use crate::criterion::{Criterion, Gradient};
use taper_core::Step;

/// Prune-and-regrow: every `every` steps, the pruner's criterion prunes a fraction of each layer's kept weights, and
/// another criterion regrows the same number. The fraction may decay.
///
/// Masks follow the schedule as well. If its sparsity has changed, the pruner's criterion chooses new masks: at the
/// steps of an update, while the masks are dense, and when the schedule reaches its target. With a one-shot schedule
/// the sparsity of each layer stays constant.
///
/// # References
/// Mocanu et al., "SET" (arXiv:1707.04780): random growth and a constant fraction. Evci et al., "Rigging the Lottery"
/// (arXiv:1911.11134): growth by the gradient. Liu et al., "GraNet" (arXiv:2106.10404): a rising sparsity. Yuan et al.,
/// "MEST" (arXiv:2110.14032): `is_soft` is its soft memory bound. Without `grow` this is RigL's `static`.
#[derive(Debug)]
pub struct Swap {
    /// Steps from one update to the next, at least 1.
    pub every: u64,
    /// Initial fraction of the kept weights that is replaced, in `(0, 1]`; never more weights than are pruned.
    pub share: f64,
    /// Decay of the fraction from `from` to `end`.
    pub decay: SwapDecay,
    /// The step before which there is no update; the first update is at least `every` steps after step 0.
    pub from: Step,
    /// The step from which there are no updates.
    pub end: Step,
    /// The last step of the run. It has no update either: weights that are regrown there have no step left to train.
    pub last: Step,
    /// The growth criterion. `None` regrows the pruned weights themselves: masks stay, and these weights are reset.
    pub grow: Option<Box<dyn Criterion>>,
    /// The criterion for the first masks; `None` for the pruner's criterion.
    pub begin: Option<Box<dyn Criterion>>,
    /// Initial value and momentum of regrown weights; `None` keeps the values that pruned weights have, or 0 if masks
    /// stay.
    pub grow_init: Option<GrowInit>,
    /// Soft bound: regrown weights are added to the scheduled number, and the same number is pruned in the next update
    /// instead of in the same one. From `end` on masks have the scheduled number.
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
            (0, _) => Err("the prune-and-regrow interval is 0 steps; give at least 1".into()),
            (_, false) => Err(format!("the prune-and-regrow fraction is {share}, outside (0, 1]")),
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
    fn the_fraction_decays_along_its_curve() {
        let at = |step| swap(SwapDecay::Cosine).swaps(Step(step));
        assert_eq!([0, 1, 99, 150, 400, 500].map(at), [None; 6]);
        let close = |step, want: f64| (at(step).unwrap() - want).abs() < 1e-15;
        assert!(close(100, 0.15 * (1.0 + 0.5f64.sqrt())) && close(200, 0.15));
        assert_eq!(swap(SwapDecay::Constant).swaps(Step(300)), Some(0.3));
        // A quarter of the steps is left: 0.3 · 0.25².
        let power = swap(SwapDecay::Power(2.0)).swaps(Step(300)).unwrap();
        assert!((power - 0.01875).abs() < 1e-15);
        // From step 200 on; half of the steps are done at step 300.
        let late = Swap { from: Step(200), ..swap(SwapDecay::Power(1.0)) };
        assert_eq!([100, 199].map(|step| late.swaps(Step(step))), [None; 2]);
        assert_eq!([200, 300].map(|step| late.swaps(Step(step))), [Some(0.3), Some(0.15)]);
        // The last step has no update.
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
        assert!(Swap { every: 0, ..cosine() }.check().unwrap_err().contains("is 0 steps"));
        for share in [0.0, 1.5, f64::NAN] {
            assert!(Swap { share, ..cosine() }.check().unwrap_err().contains("outside (0, 1]"));
        }
    }

    #[test]
    fn the_fraction_decays_at_milestones_or_along_a_function() {
        let steps = |factor| SwapDecay::Steps { factor, milestones: vec![Step(200), Step(350)] };
        let at = |decay, step| swap(decay).swaps(Step(step));
        assert_eq!([100, 200, 300].map(|step| at(steps(0.5), step)), [0.3, 0.15, 0.15].map(Some));
        assert!(swap(steps(1.0)).check().unwrap_err().contains("multiplied by 1 at each"));
        assert_eq!(swap(steps(0.0)).check(), Ok(()));
        // NaN counts as 0, and other values are clamped to [0, 1].
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
        // Masks follow a ramp at update steps, and its end at once.
        assert!(!chooses(101, half, Sparsity::new(0.6).unwrap()) && chooses(101, half, most));
    }
}
