//! The kernel context: settings, measurements and profile that passes share.

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
    conv::blocked::{BlockedConv, Packing},
    tree::{BatchShare, Roots},
};

/// The context of CPU kernels: how layers choose between dense and sparse kernels, the measurements for this choice,
/// and a time profile.
///
/// A pass uses the context of [`Pass::with_kernels`](crate::Pass::with_kernels), and activations keep it for the
/// backward pass. Clones share their state. By default, all passes share one context that chooses by measurement.
/// Measurements depend on the machine, but change no bit of the results.
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
    /// A context without measurements.
    pub fn new(choice: Choice) -> Self {
        Self { shared: Arc::new(Shared { choice, ..Shared::default() }), rank_share: None }
    }

    /// This context, for passes over a rank's images of a batch of `n_images` images. Sums over the batch include all
    /// ranks. If every rank computes the whole batch ([`Ranks::images`]), the ranks exchange nothing.
    ///
    /// All ranks must run the pass, in f32 on the CPU. The gradients of parameters of this crate's layers are over the
    /// whole batch, on every rank. Parameters used by candle's own operations get the gradient of the rank's images
    /// only.
    #[must_use]
    pub fn of_ranks(&self, ranks: &Ranks, n_images: usize) -> Self {
        let rank_share = RankShare::new(ranks, n_images).map(Arc::new);
        Self { shared: self.shared.clone(), rank_share }
    }

    /// The rank's part of the batch; `None` if it is the whole batch.
    pub(crate) fn rank_share(&self) -> Option<&RankShare> {
        self.rank_share.as_deref()
    }

    /// The part of the batch that an activation of `n` images covers.
    pub(super) fn share(&self, n: usize) -> BatchShare {
        self.rank_share().map_or(BatchShare::whole(n), RankShare::batch_share)
    }

    /// Number of images of the batch, for an activation of `n` images.
    pub(in crate::ops) fn n_images(&self, n: usize) -> usize {
        self.share(n).of
    }

    /// The sum over the batch; `None` if there is nothing to sum.
    pub(super) fn sum<T: Numbers>(&self, roots: Roots<T>) -> Result<Option<T>> {
        match self.rank_share() {
            None => Ok(roots.sum()),
            Some(share) => share.sum(roots),
        }
    }

    /// The default context.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<KernelContext> = LazyLock::new(KernelContext::default);
        &SHARED
    }

    /// How layers choose between dense and sparse kernels.
    pub fn choice(&self) -> Choice {
        self.shared.choice
    }

    /// The measurements so far.
    pub fn measured(&self) -> Vec<PackingTimes> {
        self.shared.measured.all()
    }

    /// Starts a time profile from zero.
    pub fn start_profile(&self) {
        self.shared.profile.start();
    }

    /// Stops the profile, and returns the times since [`start_profile`](Self::start_profile).
    pub fn stop_profile(&self) -> Vec<(Work, Duration)> {
        self.shared.profile.stop()
    }

    /// Calls `f`, and adds its time to the profile if that is on.
    pub(crate) fn time<R>(&self, work: Work, f: impl FnOnce() -> R) -> R {
        self.shared.profile.time(work, f)
    }

    /// The packing of a layer's weights.
    pub(super) fn packing(
        &self,
        conv: &BlockedConv,
        direction: Direction,
        density: f64,
    ) -> Packing {
        self.shared.measured.packing(self.shared.choice, conv, direction, density)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_kernels::conv::ConvShape;

    #[test]
    fn clones_share_their_state_and_other_contexts_do_not() {
        let [one, other] = [Choice::Measured, Choice::Dense].map(KernelContext::new);
        let shape = ConvShape { height: 3, width: 3, ..ConvShape::linear(16, 4, 4) };
        let conv = BlockedConv::new(shape);
        one.clone().packing(&conv, Direction::Forward, 0.1);
        assert_eq!((one.measured().len(), other.measured().len()), (1, 0));
        assert_eq!(other.packing(&conv, Direction::Forward, 0.1), Packing::Dense);
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
