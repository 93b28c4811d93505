//! Mask update rules: when masks are chosen, and prune-and-regrow.

mod decay;
mod grow_init;
mod hold;
mod swap;
mod top_k;
mod top_k_hold;

pub use decay::{Factor, SwapDecay};
pub(crate) use grow_init::Entering;
pub use grow_init::{GrowInit, InitialValue};
pub use hold::Hold;
pub use swap::Swap;
pub use top_k::TopK;
pub use top_k_hold::TopKHold;

use crate::criterion::Criterion;
use std::fmt::Debug;
use taper_core::{Sparsity, Step};

/// The state of pruning at the start of a step.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The current step.
    pub step: Step,
    /// The current sparsity of the masks.
    pub imposed: Sparsity,
    /// The sparsity of the schedule in this step.
    pub wanted: Sparsity,
    /// The final sparsity of the schedule.
    pub target: Sparsity,
}

impl Moment {
    /// Whether the schedule reaches its target in this step.
    pub fn is_arrival(&self) -> bool {
        self.wanted == self.target && self.imposed != self.wanted
    }
}

/// Decides when masks are chosen from the weights, and when prune-and-regrow replaces some of the kept weights.
///
/// ```
/// use taper_core::{Sparsity, Step};
/// use taper_prune::renewal::{Moment, Renewal};
///
/// /// At the steps 0, 1, 4, 9 and so on, and when the schedule reaches its target.
/// #[derive(Debug)]
/// struct Rarer;
///
/// impl Renewal for Rarer {
///     fn chooses(&self, now: &Moment) -> bool {
///         let root = now.step.0.isqrt();
///         root * root == now.step.0 || now.is_arrival()
///     }
/// }
///
/// let [dense, target] = [Sparsity::DENSE, Sparsity::new(0.9)?];
/// let chooses = |step, imposed| Rarer.chooses(&Moment { step: Step(step), imposed, wanted: target, target });
/// assert!(chooses(9, target) && chooses(10, dense) && !chooses(10, target));
/// # Ok::<(), taper_core::SparsityError>(())
/// ```
pub trait Renewal: Debug + Send + Sync {
    /// Whether masks are chosen at the start of a step: all kept weights, by the pruner's criterion.
    fn chooses(&self, now: &Moment) -> bool;

    /// The fraction of a layer's kept weights that is replaced after the backward pass of a step, in `[0, 1]`. The
    /// weights with the lowest scores are pruned, and the same number of weights is regrown by
    /// [`grows_by`](Self::grows_by).
    fn swaps(&self, _step: Step) -> Option<f64> {
        None
    }

    /// The growth criterion; `None` if there is no prune-and-regrow, or if masks are [static](Self::is_static).
    fn grows_by(&self) -> Option<&dyn Criterion> {
        None
    }

    /// Whether an update regrows the same weights that it prunes: masks stay, and the weights with the lowest scores
    /// are reset.
    fn is_static(&self) -> bool {
        false
    }

    /// Initial value and momentum of regrown weights. `None` keeps the values that pruned weights have: 0 without
    /// momentum, or their dense value.
    fn grow_init(&self) -> Option<GrowInit> {
        None
    }

    /// Soft bound: masks may keep extra weights before this step. Regrown weights are then added to the scheduled
    /// number, and the same number is pruned in the next update. At this step [`swaps`](Self::swaps) must be 0. `None`
    /// for a hard bound.
    fn exceeds_until(&self) -> Option<Step> {
        None
    }

    /// The criterion for the first masks; `None` for the pruner's criterion.
    fn begins_by(&self) -> Option<&dyn Criterion> {
        None
    }

    /// Whether the optimizer must reset its state of all prunable weights when masks are chosen.
    fn restarts(&self, _now: &Moment) -> bool {
        false
    }

    /// Checks the parameters of this rule.
    ///
    /// # Errors
    /// A message: which parameter is out of range, and its legal range.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether masks keep the weights that the pruner's criterion ranks highest, and can be recomputed at any time.
    fn is_top_k(&self) -> bool {
        false
    }

    /// Whether masks are held between their updates, in evaluation too.
    fn holds(&self) -> bool {
        true
    }
}

impl<R: Renewal + ?Sized> Renewal for Box<R> {
    fn chooses(&self, now: &Moment) -> bool {
        (**self).chooses(now)
    }

    fn swaps(&self, step: Step) -> Option<f64> {
        (**self).swaps(step)
    }

    fn grows_by(&self) -> Option<&dyn Criterion> {
        (**self).grows_by()
    }

    fn is_static(&self) -> bool {
        (**self).is_static()
    }

    fn grow_init(&self) -> Option<GrowInit> {
        (**self).grow_init()
    }

    fn exceeds_until(&self) -> Option<Step> {
        (**self).exceeds_until()
    }

    fn begins_by(&self) -> Option<&dyn Criterion> {
        (**self).begins_by()
    }

    fn restarts(&self, now: &Moment) -> bool {
        (**self).restarts(now)
    }

    fn check(&self) -> Result<(), String> {
        (**self).check()
    }

    fn is_top_k(&self) -> bool {
        (**self).is_top_k()
    }

    fn holds(&self) -> bool {
        (**self).holds()
    }
}
