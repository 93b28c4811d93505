//! Sparsity schedules: the sparsity at each step.
//!
//! A [`SparsitySchedule`] returns the sparsity to impose before the forward pass of a step. [`Ramp`] is the closed form
//! of Feather and gradual magnitude pruning; [`Points`] and [`Joined`] are other closed forms (see [`ClosedForm`]).
//! [`Phases`] alternates between dense and sparse phases. [`Adaptive`] varies the rate of a closed form with the mask
//! churn. A [`Cadence`] decides separately when masks are updated.
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

/// The sparsity of a network at each step.
///
/// * [`sparsity`](Self::sparsity) is a query: it changes nothing, and repeated calls return the same value.
/// * Feedback enters only through [`observe`](Self::observe); closed forms ignore it.
/// * [`state`](Self::state) contains everything that feedback has changed. A restored schedule continues bit for bit.
pub trait SparsitySchedule: Debug + Send {
    /// Sparsity to impose before the forward pass of `step`.
    fn sparsity(&self, step: Step) -> Sparsity;

    /// The final sparsity, from the last change on.
    fn target(&self) -> Sparsity;

    /// Receives how the masks have changed since the previous update. With a [`window`](Self::window) above 1, the
    /// change is since the last observation, at least `window` steps before. The first masks that prune are not
    /// reported as a change.
    fn observe(&mut self, _seen: &MaskFeedback) {}

    /// Steps between the masks that [`observe`](Self::observe) compares, at least 1.
    fn window(&self) -> u64 {
        1
    }

    /// Time of an adaptive schedule at a training step, in steps of the plain ramp: its sparsity is that of the plain
    /// ramp at this time. `None` for closed forms.
    fn clock(&self, _step: Step) -> Option<f64> {
        None
    }

    /// Smoothed mask churn of an adaptive schedule; `None` for closed forms, and before the first observation.
    fn instability(&self) -> Option<f64> {
        None
    }

    /// The step from which an adaptive schedule is at its target, whatever it observes. `None` for closed forms: their
    /// [`sparsity`](Self::sparsity) is known in advance.
    fn deadline(&self) -> Option<Step> {
        None
    }

    /// Everything that feedback has changed; empty for closed forms.
    fn state(&self) -> State {
        State::EMPTY
    }

    /// Restores a [`state`](Self::state).
    ///
    /// # Errors
    /// [`RestoreError`] if the state is from another kind of schedule.
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
