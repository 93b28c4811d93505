//! Sums of a gradient that a normalisation before it needs, taken while the gradient is in the cache.

use super::{PassWhere, source::each_passed};
use crate::{
    lanes::{LANES, Lanes, Plane},
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

/// Adds the sums of rows, in which channels alternate, to those of the channels.
pub(crate) struct SumRows<'a, G> {
    pub(crate) plane: &'a Plane,
    /// The rows.
    pub(crate) grad: G,
    /// The whole activation.
    pub(crate) x: &'a [Lanes],
    pub(crate) pass: PassWhere<'a>,
    pub(crate) mean: &'a [f32],
    /// Place of the first row in the activation.
    pub(crate) start: usize,
    pub(crate) sums: &'a mut [GradSums],
}

impl<G: Passing> Kernel for SumRows<'_, G> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { plane, mut grad, x, pass, mean, start, sums } = self;
        let len = grad.pixels().len();
        let x = x[start..start + len].as_ptr().cast::<f32>();
        let width = plane.width;
        for row in 0..len / width {
            let (first, channel) = (row * width * LANES, row % plane.channels);
            let mut found = [Lanes::ZERO; 2];
            for part in (0..LANES).step_by(S::WIDTH) {
                // SAFETY: the row lies within the gradient, and so within the activation from `start` on.
                unsafe {
                    let centre = S::splat(mean[channel]);
                    let (mut sum, mut dot) = (S::splat(0.0), S::splat(0.0));
                    macro_rules! each {
                        (|$i:ident, $g:ident, $x:ident| $passed:expr) => {
                            for $i in (first + part..first + width * LANES).step_by(LANES) {
                                let $x = S::load(x.add($i));
                                let $g = S::load(grad.pixels().as_ptr().cast::<f32>().add($i));
                                let g = $passed;
                                grad.put::<S>($i, g);
                                sum = S::add(sum, g);
                                dot = S::fma(g, S::sub($x, centre), dot);
                            }
                        };
                    }
                    each_passed!(S, pass, channel, start..start + len, each);
                    S::store(found[0].0.as_mut_ptr().add(part), sum);
                    S::store(found[1].0.as_mut_ptr().add(part), dot);
                }
            }
            sums[channel].grad += f64::from(halves(&found[0]));
            sums[channel].dot += f64::from(halves(&found[1]));
        }
    }
}
