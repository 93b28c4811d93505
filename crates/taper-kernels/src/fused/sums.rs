//! Sums of a gradient that a normalisation before it needs, taken while the gradient is in the cache.

use super::{ActivationView, PassWhere, source::each_passed};
use crate::{
    lanes::{ChannelOf, LANES, Lanes},
    simd::{Kernel, Simd, halves},
    tree::Summand,
};

/// What a normalisation needs of a gradient over the whole batch, for one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradSums {
    /// Sum of the gradient: that of the bias β.
    pub grad: f64,
    /// Sum of the gradient times `x − mean`.
    pub dot: f64,
}

/// Of each channel.
impl Summand for Vec<GradSums> {
    fn plus(mut self, other: Self) -> Self {
        for (left, right) in self.iter_mut().zip(other) {
            left.grad += right.grad;
            left.dot += right.dot;
        }
        self
    }
}

/// Vectors after which sums in single precision are added to those in double precision.
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

    /// Adds the sums of a run of a gradient.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(crate) unsafe fn add_run<S: Simd>(&mut self, grad: &[Lanes], run: GradRun) {
        // SAFETY: the caller vouches for the instructions.
        unsafe { self.add_sums::<S, _>(grad, run, ()) }
    }

    /// Puts what passes of a run of a gradient where `placed` says, past the caches unless it is added to what is there, and
    /// adds its sums. Zeros become positive.
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
        // SAFETY: the caller vouches for the instructions.
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
        // SAFETY: the caller vouches for the instructions.
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
    /// Whether something is there to which it is added.
    pub(crate) is_added: bool,
    /// Without a factor, the gradient is first added to what is there, and what passes of the sum is stored. With one, what
    /// passes of the gradient alone is multiplied by it, and then added.
    pub(crate) scale: Option<f32>,
}

/// Where what passes of a gradient goes.
trait GradTarget {
    /// Whether there is room for so many vectors.
    fn has_room(&self, n: usize) -> bool;

    /// The gradient with what is there.
    ///
    /// # Safety
    /// The instructions of `S` must be available, and the vector must lie within the target.
    unsafe fn with<S: Simd>(&self, at: usize, grad: S::V) -> S::V;

    /// Puts a vector at a float.
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

/// In place of what is there.
struct Stored<'a>(&'a mut [Lanes]);

impl GradTarget for Stored<'_> {
    fn has_room(&self, n: usize) -> bool {
        self.0.len() >= n
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, _: usize, grad: S::V) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::add(grad, S::splat(0.0)) }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V) {
        // SAFETY: as the caller vouches; vectors are aligned.
        unsafe { S::store_past(self.0.as_mut_ptr().cast::<f32>().add(at), value) }
    }
}

/// Added to what is there.
struct Added<'a>(&'a mut [Lanes]);

impl GradTarget for Added<'_> {
    fn has_room(&self, n: usize) -> bool {
        self.0.len() >= n
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, at: usize, grad: S::V) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe {
            let before = S::load(self.0.as_ptr().cast::<f32>().add(at));
            S::add(S::add(grad, before), S::splat(0.0))
        }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V) {
        // SAFETY: as the caller vouches.
        unsafe { S::store(self.0.as_mut_ptr().cast::<f32>().add(at), value) }
    }
}

/// What passes, times a factor, in place of what is there.
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
        // SAFETY: as the caller vouches; vectors are aligned.
        unsafe {
            let value = S::fma(value, S::splat(self.1), S::splat(0.0));
            S::store_past(self.0.as_mut_ptr().cast::<f32>().add(at), value);
        }
    }
}

/// What passes, times a factor, added to what is there.
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
        // SAFETY: as the caller vouches.
        unsafe {
            let to = self.0.as_mut_ptr().cast::<f32>().add(at);
            S::store(to, S::fma(value, S::splat(self.1), S::load(to)));
        }
    }
}

/// What the gradient of a channel is summed with.
pub(crate) struct GradRun<'a> {
    /// The activation.
    pub(crate) x: ActivationView<'a>,
    pub(crate) pass: PassWhere<'a>,
    /// Centre of the channel.
    pub(crate) mean: f32,
    pub(crate) of: ChannelOf,
}

/// Lanes that hold no pixel have no gradient, and so add nothing.
struct SumRun<'a, 'b, T> {
    grad: &'a [Lanes],
    run: GradRun<'a>,
    target: T,
    sums: &'b mut GradSum,
}

/// Vectors that make sixteen lanes, at most.
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
