//! How sparse at which step.
//!
//! A [`SparsitySchedule`] answers one question, the sparsity to impose before the forward pass of a step.
//! [`Ramp`] is the [closed form](ClosedForm) that Feather and gradual magnitude pruning use, [`Points`] and [`Joined`]
//! are others; [`Phases`] alternate with dense ones; [`Adaptive`] bends the clock of one by how stable the masks are. *When* masks are refreshed is a
//! separate choice: a [`Cadence`].
//!
//! ```
//! use taper_core::{Sparsity, Step};
//! use taper_schedule::{Curve, Ramp, SparsitySchedule};
//!
//! let target = Sparsity::new(0.9)?;
//! let ramp = Ramp::new(Curve::Cubic, Step(0), Step(20), target);
//! assert_eq!(ramp.sparsity(Step(0)).get(), 0.0);
//! assert!(ramp.sparsity(Step(19)) < target);
//! assert_eq!(ramp.sparsity(Step(20)), target);
//! # Ok::<(), taper_core::SparsityError>(())
//! ```
#![forbid(unsafe_code)]

mod adaptive;
mod cadence;
mod closed_form;
mod curve;
mod joined;
mod phases;
mod points;
mod ramp;
mod rate;
mod signal;
mod state;

pub use adaptive::{Adaptation, Adaptive, AdaptiveError, Reference};
pub use cadence::{Cadence, CadenceError};
pub use closed_form::{ClosedForm, PointsError};
pub use curve::Curve;
pub use joined::Joined;
pub use phases::Phases;
pub use points::Points;
pub use ramp::Ramp;
pub use rate::{Rate, UnknownRate};
pub use signal::Signal;
pub use state::{RestoreError, State};
#[doc(no_inline)]
pub use taper_core::{MaskFeedback, Sparsity, SparsityError, Step};

use std::fmt::Debug;

/// Decides how sparse the network is at each step.
///
/// * Reading never advances: [`sparsity`](Self::sparsity) is a query, and asking twice gives the same answer.
/// * Feedback enters through [`observe`](Self::observe) alone; closed forms ignore it.
/// * What feedback changed is all in [`state`](Self::state), so that a restored schedule goes on bit for bit.
pub trait SparsitySchedule: Debug + Send {
    /// Sparsity to impose before the forward pass of `step`.
    fn sparsity(&self, step: Step) -> Sparsity;

    /// Where the schedule ends: the sparsity from its last change on.
    fn target(&self) -> Sparsity;

    /// Tells the schedule how a mask refresh changed the masks since the one before, or where its
    /// [`window`](Self::window) is longer, since the last that it was told of. The first masks that prune are no change.
    fn observe(&mut self, _seen: &MaskFeedback) {}

    /// Steps between the masks that [`observe`](Self::observe) compares, at least 1.
    fn window(&self) -> u64 {
        1
    }

    /// What the clock of an adaptive schedule shows at a step, in steps of the plain ramp; `None` for closed forms.
    fn clock(&self, _step: Step) -> Option<f64> {
        None
    }

    /// The instability that an adaptive schedule goes by, as it has smoothed it; `None` for closed forms, and before the
    /// first observation.
    fn instability(&self) -> Option<f64> {
        None
    }

    /// The step from which on an adaptive schedule is at its target whatever it observes; `None` for closed forms, whose
    /// [`sparsity`](Self::sparsity) tells.
    fn deadline(&self) -> Option<Step> {
        None
    }

    /// All that feedback has changed; empty for closed forms.
    fn state(&self) -> State {
        State::EMPTY
    }

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// [`RestoreError`] if the state belongs to another kind of schedule.
    fn restore(&mut self, state: &State) -> Result<(), RestoreError> {
        state.expect_len(0)
    }
}

impl<S: SparsitySchedule + ?Sized> SparsitySchedule for Box<S> {
    fn sparsity(&self, step: Step) -> Sparsity {
        (**self).sparsity(step)
    }

    fn target(&self) -> Sparsity {
        (**self).target()
    }

    fn observe(&mut self, seen: &MaskFeedback) {
        (**self).observe(seen);
    }

    fn window(&self) -> u64 {
        (**self).window()
    }

    fn clock(&self, step: Step) -> Option<f64> {
        (**self).clock(step)
    }

    fn instability(&self) -> Option<f64> {
        (**self).instability()
    }

    fn deadline(&self) -> Option<Step> {
        (**self).deadline()
    }

    fn state(&self) -> State {
        (**self).state()
    }

    fn restore(&mut self, state: &State) -> Result<(), RestoreError> {
        (**self).restore(state)
    }
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
