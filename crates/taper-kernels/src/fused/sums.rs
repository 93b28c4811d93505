//! Sums of a gradient that a normalisation before it needs, taken while the gradient is in the cache.

use super::{PassWhere, source::each_passed};
use crate::{
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd, halves},
};

/// What a normalisation needs of a gradient over the whole batch, for one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradSums {
    /// Sum of the gradient: that of the bias β.
    pub grad: f64,
    /// Sum of the gradient times `x − mean`.
    pub dot: f64,
}

impl GradSums {
    /// Adds the sums of each channel.
    pub(crate) fn add(totals: &mut [Self], parts: &[Self]) {
        for (total, part) in totals.iter_mut().zip(parts) {
            total.grad += part.grad;
            total.dot += part.dot;
        }
    }
}

/// Vectors after which sums in single precision are added to those in double precision.
const MOST_VECTORS: usize = 256;

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

    /// Adds the sums of a run.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(crate) unsafe fn add_run<S: Simd, G: Passing>(&mut self, run: GradRun<G>) {
        let n = run.grad.pixels().len();
        let run = SumRun { run, sums: self };
        // SAFETY: the caller vouches for the instructions.
        unsafe { run.run::<S>() };
        self.vectors += n;
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

/// A gradient that is read, or of which only what passes stays.
pub(crate) trait Passing {
    fn pixels(&self) -> &[Lanes];

    /// Puts a vector in place of that at float `at`, unless the gradient is only read.
    ///
    /// # Safety
    /// The instructions of `S` must be available, and the vector must lie within the pixels.
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V);
}

impl Passing for &[Lanes] {
    fn pixels(&self) -> &[Lanes] {
        self
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, _: usize, _: S::V) {}
}

impl Passing for &mut [Lanes] {
    fn pixels(&self) -> &[Lanes] {
        self
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, at: usize, value: S::V) {
        // SAFETY: as the caller vouches.
        unsafe { S::store(self.as_mut_ptr().cast::<f32>().add(at), value) }
    }
}

/// The gradient of a channel, and what it is summed with.
pub(crate) struct GradRun<'a, G> {
    pub(crate) grad: G,
    /// The whole activation.
    pub(crate) x: &'a [Lanes],
    pub(crate) pass: PassWhere<'a>,
    /// Centre of the channel.
    pub(crate) mean: f32,
    pub(crate) channel: usize,
    /// Place of the run in the activation.
    pub(crate) at: usize,
}

/// Lanes that hold no pixel have no gradient, and so add nothing.
struct SumRun<'a, 'b, G> {
    run: GradRun<'a, G>,
    sums: &'b mut GradSum,
}

impl<G: Passing> Kernel for SumRun<'_, '_, G> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { run: GradRun { mut grad, x, pass, mean, channel, at }, sums } = self;
        let n = grad.pixels().len();
        let x = x[at..at + n].as_ptr().cast::<f32>();
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: the run lies within the activation.
            unsafe {
                let centre = S::splat(mean);
                let to = [&mut sums.grad, &mut sums.dot].map(|to| to.0.as_mut_ptr().add(part));
                let (mut sum, mut dot) = (S::load(to[0]), S::load(to[1]));
                macro_rules! each {
                    (|$i:ident, $g:ident, $x:ident| $passed:expr) => {
                        for $i in (part..n * LANES).step_by(LANES) {
                            let $x = S::load(x.add($i));
                            let $g = S::load(grad.pixels().as_ptr().cast::<f32>().add($i));
                            let g = $passed;
                            grad.put::<S>($i, g);
                            sum = S::add(sum, g);
                            dot = S::fma(g, S::sub($x, centre), dot);
                        }
                    };
                }
                each_passed!(S, pass, channel, at..at + n, each);
                S::store(to[0], sum);
                S::store(to[1], dot);
            }
        }
    }
}
