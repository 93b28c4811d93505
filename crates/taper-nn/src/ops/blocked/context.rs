//! What the passes of a program share about the kernels of the CPU.

use super::{
    choice::{Choice, Direction, Measurements, PackingTimes},
    profile::{Profile, Work},
};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use taper_kernels::conv::{ConvShape, blocked::Packing};

/// How layers choose between dense and sparse kernels, what they have measured to do so, and the time that they take.
///
/// It is given to a pass ([`Pass::with_kernels`](crate::Pass::with_kernels)), and activations carry it on to the backward
/// pass. A clone is the same context. Passes without one of their own share one that chooses by measurement: how long kernels
/// take is a property of the machine, and changes no bit.
///
/// ```
/// use taper_nn::{Gates, KernelContext, Pass, ops::choice::Choice};
///
/// let kernels = KernelContext::new(Choice::ByRule);
/// let gates = Gates::NONE;
/// let pass = Pass::train(&gates).with_kernels(&kernels);
/// assert_eq!(pass.kernels().choice(), Choice::ByRule);
/// assert_eq!(Pass::eval().kernels().choice(), Choice::Measured);
/// ```
#[derive(Clone, Debug, Default)]
pub struct KernelContext(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    choice: Choice,
    measured: Measurements,
    profile: Profile,
}

impl KernelContext {
    /// A context that has measured nothing.
    pub fn new(choice: Choice) -> Self {
        Self(Arc::new(Shared { choice, ..Shared::default() }))
    }

    /// That of passes without one of their own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<KernelContext> = LazyLock::new(KernelContext::default);
        &SHARED
    }

    /// How layers choose.
    pub fn choice(&self) -> Choice {
        self.0.choice
    }

    /// What was measured so far.
    pub fn measured(&self) -> Vec<PackingTimes> {
        self.0.measured.all()
    }

    /// Begins to take times, from zero.
    pub fn start_profile(&self) {
        self.0.profile.start();
    }

    /// Ends taking times, and gives those since [`start_profile`](Self::start_profile).
    pub fn stop_profile(&self) -> Vec<(Work, Duration)> {
        self.0.profile.stop()
    }

    /// Does some work, whose time is taken if times are.
    pub(crate) fn time<R>(&self, work: Work, f: impl FnOnce() -> R) -> R {
        self.0.profile.time(work, f)
    }

    /// How to pack the weights of a layer.
    pub(super) fn packing(&self, shape: &ConvShape, direction: Direction, density: f64) -> Packing {
        self.0.measured.packing(self.0.choice, shape, direction, density)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_context_and_another_knows_nothing_of_it() {
        let [one, other] = [Choice::Measured, Choice::Dense].map(KernelContext::new);
        let shape = ConvShape { height: 3, width: 3, ..ConvShape::linear(16, 4, 4) };
        one.clone().packing(&shape, Direction::Forward, 0.1);
        assert_eq!((one.measured().len(), other.measured().len()), (1, 0));
        assert_eq!(other.packing(&shape, Direction::Forward, 0.1), Packing::Dense);
        other.start_profile();
        one.time(Work::Pool, || ());
        assert_eq!(one.stop_profile(), other.stop_profile());
        one.start_profile();
        assert_eq!(one.clone().time(Work::Pool, || std::hint::black_box(7)), 7);
        let took =
            |times: Vec<(Work, Duration)>| times.iter().map(|(_, took)| *took).sum::<Duration>();
        assert!(took(one.stop_profile()) > Duration::ZERO);
    }
}
