//! Sums of a gradient that the batch norm before it needs, computed while the gradient is in the cache.

use super::{ActivationView, PassWhere, source::each_passed};
use crate::{
    lanes::{ChannelOf, LANES, Lanes},
    simd::{Kernel, Simd, halves},
    tree::Summand,
};

/// The sums of a gradient over the whole batch that batch norm needs, for one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradSums {
    /// Sum of the gradient: the gradient of the bias β.
    pub grad: f64,
    /// Sum of the gradient times `x − mean`.
    pub dot: f64,
}

/// One entry per channel.
impl Summand for Vec<GradSums> {
    fn plus(mut self, other: Self) -> Self {
        for (left, right) in self.iter_mut().zip(other) {
            left.grad += right.grad;
            left.dot += right.dot;
        }
        self
    }
}

/// Number of vectors after which f32 sums are added to the f64 sums.
pub(super) const MOST_VECTORS: usize = 256;

/// Sums of a channel's gradient, from which [`GradSums`] follow.
#[derive(Clone, Debug)]
pub(crate) struct GradSum {
    grad: Lanes,
    dot: Lanes,
    vectors: usize,
    total: GradSums,
}

impl GradSum {
    pub(crate) const NONE: Self = Self {
        grad: Lanes::ZERO,
        dot: Lanes::ZERO,
        vectors: 0,
        total: GradSums { grad: 0.0, dot: 0.0 },
    };

    /// Adds a run of a gradient to the sums.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(crate) unsafe fn add_run<S: Simd>(&mut self, grad: &[Lanes], run: GradRun) {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { self.add_sums::<S, _>(grad, run, ()) }
    }

    /// Stores the part of a run of a gradient that passes, as `placed` says, and adds it to the sums. It is stored past
    /// the caches, unless it is added to values in memory. Negative zeros become positive.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(crate) unsafe fn add_stored<S: Simd>(
        &mut self,
        grad: &[Lanes],
        run: GradRun,
        to: &mut [Lanes],
        placed: Placed,
    ) {
        // SAFETY: the caller guarantees the instruction set.
        unsafe {
            match (placed.scale, placed.is_added) {
                (None, true) => self.add_sums::<S, _>(grad, run, Added(to)),
                (None, false) => self.add_sums::<S, _>(grad, run, Stored(to)),
                (Some(scale), true) => self.add_sums::<S, _>(grad, run, AddedTimes(to, scale)),
                (Some(scale), false) => self.add_sums::<S, _>(grad, run, StoredTimes(to, scale)),
            }
        }
    }

    #[inline(always)]
    unsafe fn add_sums<S: Simd, T: GradTarget>(&mut self, grad: &[Lanes], run: GradRun, target: T) {
        assert!(target.has_room(grad.len()), "room for a run of the gradient");
        let run = SumRun { grad, run, target, sums: self };
        // SAFETY: the caller guarantees the instruction set.
        unsafe { run.run::<S>() };
        self.vectors += grad.len();
        if self.vectors >= MOST_VECTORS {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.total.grad += f64::from(halves(&self.grad));
        self.total.dot += f64::from(halves(&self.dot));
        *self = Self { total: self.total, ..Self::NONE };
    }

    /// The sums of all runs.
    pub(crate) fn sums(mut self) -> GradSums {
        self.settle();
        self.total
    }
}

/// How a gradient is stored.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    /// Whether it is added to the values in memory.
    pub(crate) is_added: bool,
    /// Without a factor, the gradient is first added to the values in memory, and the part of the sum that passes is
    /// stored. With a factor, the mask applies to the gradient alone: the part that passes is multiplied by the factor,
    /// and then added.
    pub(crate) scale: Option<f32>,
}

/// Where the part of a gradient that passes is stored.
trait GradTarget {
    /// Whether there is room for `n` vectors.
    fn has_room(&self, n: usize) -> bool;

    /// The gradient, plus the values in memory if they are added before the mask.
    ///
    /// # Safety
    /// The instructions of `S` must be available, and the vector must lie within the target.
    unsafe fn with<S: Simd>(&self, at: usize, grad: S::V) -> S::V;

    /// Stores a vector from float `at` on.
    ///
    /// # Safety
    /// As [`with`](Self::with).
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V);
}

/// Nowhere: the gradient is only read.
impl GradTarget for () {
    fn has_room(&self, _: usize) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, _: usize, grad: S::V) -> S::V {
        grad
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, _: usize, _: S::V) {}
}

/// Overwrites memory with the part that passes.
struct Stored<'a>(&'a mut [Lanes]);

impl GradTarget for Stored<'_> {
    fn has_room(&self, n: usize) -> bool {
        self.0.len() >= n
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, _: usize, grad: S::V) -> S::V {
        // SAFETY: guaranteed by the caller.
        unsafe { S::add(grad, S::splat(0.0)) }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V) {
        // SAFETY: guaranteed by the caller; vectors are aligned.
        unsafe { S::store_past(self.0.as_mut_ptr().cast::<f32>().add(at), value) }
    }
}

/// Adds the gradient to memory, and stores the part that passes.
struct Added<'a>(&'a mut [Lanes]);

impl GradTarget for Added<'_> {
    fn has_room(&self, n: usize) -> bool {
        self.0.len() >= n
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, at: usize, grad: S::V) -> S::V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let before = S::load(self.0.as_ptr().cast::<f32>().add(at));
            S::add(S::add(grad, before), S::splat(0.0))
        }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { S::store(self.0.as_mut_ptr().cast::<f32>().add(at), value) }
    }
}

/// Overwrites memory with the part that passes, times a factor.
struct StoredTimes<'a>(&'a mut [Lanes], f32);

impl GradTarget for StoredTimes<'_> {
    fn has_room(&self, n: usize) -> bool {
        self.0.len() >= n
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, _: usize, grad: S::V) -> S::V {
        grad
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V) {
        // SAFETY: guaranteed by the caller; vectors are aligned.
        unsafe {
            let value = S::fma(value, S::splat(self.1), S::splat(0.0));
            S::store_past(self.0.as_mut_ptr().cast::<f32>().add(at), value);
        }
    }
}

/// Adds the part that passes, times a factor, to memory.
struct AddedTimes<'a>(&'a mut [Lanes], f32);

impl GradTarget for AddedTimes<'_> {
    fn has_room(&self, n: usize) -> bool {
        self.0.len() >= n
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, _: usize, grad: S::V) -> S::V {
        grad
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let to = self.0.as_mut_ptr().cast::<f32>().add(at);
            S::store(to, S::fma(value, S::splat(self.1), S::load(to)));
        }
    }
}

/// The data that is summed with the gradient of a channel.
pub(crate) struct GradRun<'a> {
    /// The activation.
    pub(crate) x: ActivationView<'a>,
    pub(crate) pass: PassWhere<'a>,
    /// Centre of the channel.
    pub(crate) mean: f32,
    pub(crate) of: ChannelOf,
}

/// Lanes without a pixel have a gradient of 0 and add nothing.
struct SumRun<'a, 'b, T> {
    grad: &'a [Lanes],
    run: GradRun<'a>,
    target: T,
    sums: &'b mut GradSum,
}

/// Maximum number of vectors that make up sixteen lanes.
pub(super) const MOST_PARTS: usize = 16;

impl<T: GradTarget> Kernel for SumRun<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { grad, run: GradRun { x, pass, mean, of }, mut target, sums } = self;
        let n = grad.len();
        let x = x.channel(of, n).as_ptr().cast::<f32>();
        let from = grad.as_ptr().cast::<f32>();
        let parts = LANES / S::WIDTH;
        // SAFETY: the run lies within the activation.
        unsafe {
            let centre = S::splat(mean);
            let (mut sum, mut dot) = ([S::splat(0.0); MOST_PARTS], [S::splat(0.0); MOST_PARTS]);
            for p in 0..parts {
                sum[p] = S::load(sums.grad.0.as_ptr().add(p * S::WIDTH));
                dot[p] = S::load(sums.dot.0.as_ptr().add(p * S::WIDTH));
            }
            macro_rules! each {
                (|$i:ident, $g:ident, $x:ident| $passed:expr) => {
                    for v in 0..n {
                        for p in 0..parts {
                            let $i = v * LANES + p * S::WIDTH;
                            let $x = S::load(x.add($i));
                            let $g = target.with::<S>($i, S::load(from.add($i)));
                            let g = $passed;
                            target.put::<S>($i, g);
                            sum[p] = S::add(sum[p], g);
                            dot[p] = S::fma(g, S::sub($x, centre), dot[p]);
                        }
                    }
                };
            }
            each_passed!(S, pass, of, n, each);
            for p in 0..parts {
                S::store(sums.grad.0.as_mut_ptr().add(p * S::WIDTH), sum[p]);
                S::store(sums.dot.0.as_mut_ptr().add(p * S::WIDTH), dot[p]);
            }
        }
    }
}
