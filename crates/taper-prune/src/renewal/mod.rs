//! How masks change.

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

/// What a renewal is asked with at the begin of a step.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The step.
    pub step: Step,
    /// The sparsity that masks have.
    pub imposed: Sparsity,
    /// The sparsity that the schedule asks for.
    pub wanted: Sparsity,
    /// The sparsity that the schedule ends with.
    pub target: Sparsity,
}

impl Moment {
    /// Whether the schedule arrives at its end.
    pub fn is_arrival(&self) -> bool {
        self.wanted == self.target && self.imposed != self.wanted
    }
}

/// Decides when masks are chosen anew from the weights, and when some of what they keep is swapped.
///
/// ```
/// use taper_core::{Sparsity, Step};
/// use taper_prune::renewal::{Moment, Renewal};
///
/// /// At the steps 0, 1, 4, 9 and so on, and where the schedule arrives.
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
    /// Whether masks are chosen at the begin of a step: all that is kept, by the pruner's criterion.
    fn chooses(&self, now: &Moment) -> bool;

    /// The share of a layer's kept weights that is swapped after the backward pass of a step, in `[0, 1]`: the ones of the
    /// lowest score leave, and as many enter, by [`grows_by`](Self::grows_by).
    fn swaps(&self, _step: Step) -> Option<f64> {
        None
    }

    /// What weights enter by in a swap; `None` if there are no swaps, or if these are [static](Self::is_static).
    fn grows_by(&self) -> Option<&dyn Criterion> {
        None
    }

    /// Whether the very weights that leave in a swap enter again: masks stay, and the weights of the lowest score begin anew.
    fn is_static(&self) -> bool {
        false
    }

    /// What weights begin with that enter in a swap; `None` for what the remainder has made of them: 0 without momentum, or
    /// their dense value.
    fn grow_init(&self) -> Option<GrowInit> {
        None
    }

    /// Where masks may exceed the sparsity of the schedule: the step at which they no longer do, and at which
    /// [`swaps`](Self::swaps) has to be 0. Weights then enter in a swap on top of what the schedule asks for, and as many leave
    /// in the next one.
    fn exceeds_until(&self) -> Option<Step> {
        None
    }

    /// What the first masks are chosen by, if not by the pruner's criterion.
    fn begins_by(&self) -> Option<&dyn Criterion> {
        None
    }

    /// Whether an optimizer forgets all that it remembers of the prunable weights, as masks are chosen: training begins anew.
    fn restarts(&self, _now: &Moment) -> bool {
        false
    }

    /// Checks the choices of this renewal.
    ///
    /// # Errors
    /// A sentence: what is out of range, and what the range is.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether masks keep what the pruner's criterion ranks highest, so that they can be found anew at any time.
    fn is_top_k(&self) -> bool {
        false
    }

    /// Whether masks stay as they are between the steps that change them, in evaluation too.
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
