//! Masks of which a share is swapped now and then.

use super::{Moment, Renewal};
use crate::criterion::Criterion;
use std::f64::consts::PI;
use taper_core::Step;

/// Swaps a share of each layer's kept weights every so many steps: the pruner's criterion says which leave, another one
/// which enter. The share may fall on the way.
///
/// Masks follow the schedule as well: at the steps of a swap, and at the first step, they are chosen anew if it asks for
/// another sparsity. With a schedule of one step the sparsity of each layer stays what it was at the begin.
///
/// # References
/// Mocanu et al., "SET" (arXiv:1707.04780), with weights that enter at random and a constant share; Evci et al., "Rigging
/// the Lottery" (arXiv:1911.11134), by the gradient; Liu et al., "GraNet" (arXiv:2106.10404), with a schedule that rises.
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
    /// What weights enter by.
    pub grow: Box<dyn Criterion>,
    /// What the first masks are chosen by, if not by the pruner's criterion.
    pub begin: Option<Box<dyn Criterion>>,
}

/// How the share that is swapped falls from its first value, where swaps begin, towards their end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SwapDecay {
    /// It does not.
    Constant,
    /// `(1 + cos πx) / 2`, to 0.
    Cosine,
    /// `(1 − x)ⁿ`, to 0; n is above 0. RigL calls it `exponential_n`.
    Power(f64),
}

impl SwapDecay {
    /// The factor at a share x of the way, in `[0, 1]`.
    fn at(self, x: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine => (1.0 + libm::cos(PI * x)) / 2.0,
            Self::Power(n) => libm::pow(1.0 - x, n),
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
        let x = || (step.0 - from) as f64 / (end - from) as f64;
        (is_due && self.from <= step && step < self.end).then(|| self.share * self.decay.at(x()))
    }

    fn grows_by(&self) -> Option<&dyn Criterion> {
        Some(&*self.grow)
    }

    fn begins_by(&self) -> Option<&dyn Criterion> {
        self.begin.as_deref()
    }

    fn check(&self) -> Result<(), String> {
        let Self { every, share, decay, .. } = self;
        match (*every, *share > 0.0 && *share <= 1.0, decay) {
            (0, ..) => Err("a swap every 0 steps is never; give at least 1".into()),
            (_, false, _) => Err(format!("a share of {share} to swap is outside (0, 1]")),
            (.., SwapDecay::Power(n)) if !(*n > 0.0 && n.is_finite()) => {
                Err(format!("a share that falls with the power {n} is none; give a number above 0"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criterion::{Gradient, Random};
    use taper_core::Sparsity;

    fn swap(decay: SwapDecay) -> Swap {
        let begin = Some(Box::new(Random { seed: 0 }) as Box<dyn Criterion>);
        let (from, end, grow) = (Step::ZERO, Step(400), Box::new(Gradient));
        Swap { every: 100, share: 0.3, decay, from, end, grow, begin }
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
