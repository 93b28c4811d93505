//! What the passes of a program share about the kernels of the CPU.

use super::{
    choice::{Choice, Direction, Measurements, PackingTimes},
    profile::{Profile, Work},
    rank_share::{Numbers, RankShare},
};
use candle_core::Result;
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use taper_distributed::Ranks;
use taper_kernels::{
    conv::{ConvShape, blocked::Packing},
    tree::{BatchShare, Roots},
};

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
pub struct KernelContext {
    shared: Arc<Shared>,
    rank_share: Option<Arc<RankShare>>,
}

#[derive(Debug, Default)]
struct Shared {
    choice: Choice,
    measured: Measurements,
    profile: Profile,
}

impl KernelContext {
    /// A context that has measured nothing.
    pub fn new(choice: Choice) -> Self {
        Self { shared: Arc::new(Shared { choice, ..Shared::default() }), rank_share: None }
    }

    /// This context for passes over a rank's images of a batch of `n_images`. Sums over the batch include all ranks. Where every rank computes the whole batch ([`Ranks::images`]), no rank asks the others.
    ///
    /// A pass with it is made by all ranks, over f32 on the CPU. Gradients of parameters of this crate's layers are those of the
    /// whole batch, on every rank. Parameters that operations of candle's own use get the gradient of the rank's images alone.
    #[must_use]
    pub fn of_ranks(&self, ranks: &Ranks, n_images: usize) -> Self {
        let rank_share = RankShare::new(ranks, n_images).map(Arc::new);
        Self { shared: self.shared.clone(), rank_share }
    }

    /// The part of a batch that passes are over, if it is not the whole.
    pub(crate) fn rank_share(&self) -> Option<&RankShare> {
        self.rank_share.as_deref()
    }

    /// The share of a batch that an activation of `n` images has.
    pub(super) fn share(&self, n: usize) -> BatchShare {
        self.rank_share().map_or(BatchShare::whole(n), RankShare::batch_share)
    }

    /// Images of the batch, of which an activation has `n`.
    pub(in crate::ops) fn n_images(&self, n: usize) -> usize {
        self.share(n).of
    }

    /// The sum over the batch; `None` of nothing.
    pub(super) fn sum<T: Numbers>(&self, roots: Roots<T>) -> Result<Option<T>> {
        match self.rank_share() {
            None => Ok(roots.sum()),
            Some(share) => share.sum(roots),
        }
    }

    /// That of passes without one of their own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<KernelContext> = LazyLock::new(KernelContext::default);
        &SHARED
    }

    /// How layers choose.
    pub fn choice(&self) -> Choice {
        self.shared.choice
    }

    /// What was measured so far.
    pub fn measured(&self) -> Vec<PackingTimes> {
        self.shared.measured.all()
    }

    /// Begins to take times, from zero.
    pub fn start_profile(&self) {
        self.shared.profile.start();
    }

    /// Ends taking times, and gives those since [`start_profile`](Self::start_profile).
    pub fn stop_profile(&self) -> Vec<(Work, Duration)> {
        self.shared.profile.stop()
    }

    /// Does some work, whose time is taken if times are.
    pub(crate) fn time<R>(&self, work: Work, f: impl FnOnce() -> R) -> R {
        self.shared.profile.time(work, f)
    }

    /// How to pack the weights of a layer.
    pub(super) fn packing(&self, shape: &ConvShape, direction: Direction, density: f64) -> Packing {
        self.shared.measured.packing(self.shared.choice, shape, direction, density)
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
