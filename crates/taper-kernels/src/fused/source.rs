//! Inputs that a kernel computes while it reads them.

use super::ActivationView;
use crate::{
    lanes::{ChannelOf, LANES, Lanes, Plane},
    simd::{Kernel, Simd, Stretch},
};
use std::ops::Range;

/// An activation as a convolution reads it.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// As it is stored.
    Plain(ActivationView<'a>),
    /// `scale·x + shift` per channel, followed by ReLU if `relu`.
    Normed {
        /// The stored activation.
        x: ActivationView<'a>,
        /// Factor of each channel.
        scale: &'a [f32],
        /// Summand of each channel.
        shift: &'a [f32],
        /// Whether ReLU follows.
        relu: bool,
    },
}

/// The pixels where a gradient passes.
#[derive(Clone, Copy, Debug)]
pub enum PassWhere<'a> {
    /// All pixels.
    Everywhere,
    /// Pixels where `scale·x + shift` is positive.
    Normed {
        /// Factor of each channel.
        scale: &'a [f32],
        /// Summand of each channel.
        shift: &'a [f32],
    },
    /// Pixels where this activation is positive.
    Positive(&'a [Lanes]),
}

/// `scale·(gradient − mean_grad − (x − mean)·slope)`: the gradient of batch norm, for one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NormSlope {
    /// γ divided by the standard deviation.
    pub scale: f32,
    /// Mean of `x`.
    pub mean: f32,
    /// Mean of the gradient; 0 where the statistics are constants.
    pub mean_grad: f32,
    /// Mean of gradient times `x − mean`, divided by the variance; 0 where the statistics are constants.
    pub slope: f32,
}

/// The gradient of a convolution's output as its backward pass reads it.
#[derive(Clone, Copy, Debug)]
pub enum GradSource<'a> {
    /// As it is stored.
    Plain(&'a [Lanes]),
    /// Computed through the batch norm and the ReLU that follow the convolution.
    Normed {
        /// Gradient of the ReLU's output.
        grad: &'a [Lanes],
        /// Output of the convolution.
        x: ActivationView<'a>,
        /// Where the ReLU passes the gradient.
        pass: PassWhere<'a>,
        /// The coefficients of batch norm, one entry per channel.
        slopes: &'a [NormSlope],
    },
}

impl<'a> Source<'a> {
    /// Adds the memory that is read for some units to `into`.
    pub(crate) fn read(&self, plane: &Plane, units: Range<usize>, into: &mut Vec<Stretch>) {
        match self {
            Self::Plain(x) | Self::Normed { x, .. } => x.stretches(plane, units, into),
        }
    }

    pub(crate) fn check(&self, plane: &Plane) {
        let channels = plane.channels;
        match self {
            Self::Plain(x) => x.check(plane, "source"),
            Self::Normed { x, scale, shift, .. } => {
                x.check(plane, "source");
                assert!(
                    scale.len() == channels && shift.len() == channels,
                    "one scale and shift per channel"
                );
            }
        }
    }
}

impl<'a> GradSource<'a> {
    /// Adds the memory that is read for some units to `into`.
    pub(crate) fn read(&self, plane: &Plane, units: Range<usize>, into: &mut Vec<Stretch>) {
        match *self {
            Self::Plain(x) => ActivationView::Whole(x).stretches(plane, units, into),
            Self::Normed { grad, x, pass, .. } => {
                ActivationView::Whole(grad).stretches(plane, units.clone(), into);
                x.stretches(plane, units.clone(), into);
                pass.read(plane, units, into);
            }
        }
    }

    pub(crate) fn check(&self, plane: &Plane) {
        let (len, channels) = (plane.len(), plane.channels);
        match self {
            Self::Plain(x) => assert_eq!(x.len(), len, "gradient of {plane:?}"),
            Self::Normed { grad, x, pass, slopes } => {
                assert_eq!(grad.len(), len, "gradient of {plane:?}");
                x.check(plane, "activation");
                assert_eq!(slopes.len(), channels, "one slope per channel");
                pass.check(plane);
            }
        }
    }
}

impl<'a> PassWhere<'a> {
    /// Adds the memory that is read for some units to `into`, without the gradient and its activation.
    pub(crate) fn read(&self, plane: &Plane, units: Range<usize>, into: &mut Vec<Stretch>) {
        if let Self::Positive(y) = *self {
            ActivationView::Whole(y).stretches(plane, units, into);
        }
    }

    pub(crate) fn check(&self, plane: &Plane) {
        match self {
            Self::Everywhere => {}
            Self::Normed { scale, shift } => {
                assert!(scale.len() == plane.channels && shift.len() == plane.channels);
            }
            Self::Positive(y) => assert_eq!(y.len(), plane.len(), "output of {plane:?}"),
        }
    }
}

/// A source of the pixels of a channel.
pub(crate) trait ChannelSource: Copy {
    /// Computes the pixels of a channel; `out` has all of its vectors.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    unsafe fn fill<S: Simd>(&self, of: ChannelOf, out: &mut [Lanes]);
}

impl ChannelSource for Source<'_> {
    #[inline(always)]
    unsafe fn fill<S: Simd>(&self, of: ChannelOf, out: &mut [Lanes]) {
        match *self {
            // SAFETY: the caller guarantees the instruction set.
            Self::Plain(x) => unsafe { copy::<S>(x.channel(of, out.len()), out) },
            Self::Normed { x, scale, shift, relu } => {
                let (x, channel) = (x.channel(of, out.len()), of.channel);
                // SAFETY: the caller guarantees the instruction set; both slices have `n` floats.
                unsafe {
                    let (scale, shift) = (S::splat(scale[channel]), S::splat(shift[channel]));
                    let (from, to, n) =
                        (x.as_ptr().cast::<f32>(), out.as_mut_ptr().cast::<f32>(), x.len() * LANES);
                    if relu {
                        for i in (0..n).step_by(S::WIDTH) {
                            S::will_read(from.wrapping_add(i + AHEAD));
                            let y = S::fma(S::load(from.add(i)), scale, shift);
                            S::store(to.add(i), S::where_positive(y, y));
                        }
                    } else {
                        for i in (0..n).step_by(S::WIDTH) {
                            S::store(to.add(i), S::fma(S::load(from.add(i)), scale, shift));
                        }
                    }
                }
            }
        }
    }
}

impl ChannelSource for GradSource<'_> {
    #[inline(always)]
    unsafe fn fill<S: Simd>(&self, of: ChannelOf, out: &mut [Lanes]) {
        match *self {
            // SAFETY: the caller guarantees the instruction set.
            Self::Plain(x) => unsafe { copy::<S>(&x[of.at..of.at + out.len()], out) },
            Self::Normed { grad, x, pass, slopes } => {
                let (grad, x) = (&grad[of.at..of.at + out.len()], x.channel(of, out.len()));
                let row = GradRow { grad, x, pass, slopes: slopes[of.channel], of, out };
                // SAFETY: the caller guarantees the instruction set.
                unsafe { S::call(row) }
            }
        }
    }
}

/// Expands to `each!(|i, g, x| …)` with the part of `g`, the gradient of `x`, that passes. Each kind of `$pass` gets
/// its own loop: a single loop would branch on the kind for each vector. `$of` is the channel, of `$n` vectors.
macro_rules! each_passed {
    ($S:ident, $pass:expr, $of:expr, $n:expr, $each:ident) => {
        match $pass {
            PassWhere::Everywhere => $each!(|i, g, x| g),
            PassWhere::Normed { scale, shift } => {
                let (scale, shift) = ($S::splat(scale[$of.channel]), $S::splat(shift[$of.channel]));
                $each!(|i, g, x| $S::where_positive($S::fma(x, scale, shift), g));
            }
            PassWhere::Positive(y) => {
                let y = y[$of.at..$of.at + $n].as_ptr().cast::<f32>();
                $each!(|i, g, x| $S::where_positive($S::load(y.add(i)), g));
            }
        }
    };
}
pub(super) use each_passed;

/// A channel of the gradient w.r.t. the input of batch norm. As a separate kernel it has all registers for itself.
struct GradRow<'a> {
    grad: &'a [Lanes],
    x: &'a [Lanes],
    pass: PassWhere<'a>,
    slopes: NormSlope,
    of: ChannelOf,
    out: &'a mut [Lanes],
}

impl Kernel for GradRow<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.out.len().min(self.x.len()).min(self.grad.len()) * LANES;
        let (g, x, to) = (
            self.grad.as_ptr().cast::<f32>(),
            self.x.as_ptr().cast::<f32>(),
            self.out.as_mut_ptr().cast::<f32>(),
        );
        // SAFETY: the caller guarantees the instruction set; all slices have `n` floats, and the activation has them at
        // the channel.
        unsafe {
            let (scale, mean) = (S::splat(self.slopes.scale), S::splat(self.slopes.mean));
            let mean_grad = S::splat(self.slopes.mean_grad);
            let slope = S::splat(-self.slopes.slope);
            macro_rules! each {
                (|$i:ident, $g:ident, $x:ident| $passed:expr) => {
                    for $i in (0..n).step_by(S::WIDTH) {
                        S::will_read(g.wrapping_add($i + AHEAD));
                        S::will_read(x.wrapping_add($i + AHEAD));
                        let ($g, $x) = (S::load(g.add($i)), S::load(x.add($i)));
                        let passed = $passed;
                        let g = S::fma(S::sub($x, mean), slope, S::sub(passed, mean_grad));
                        S::store(to.add($i), S::mul(scale, g));
                    }
                };
            }
            each_passed!(S, self.pass, self.of, self.out.len(), each);
        }
    }
}

/// Prefetch distance in floats.
const AHEAD: usize = 2048;

/// Copies pixels, and prefetches those after them in memory, which are copied next.
///
/// # Safety
/// The instructions of `S` must be available.
#[inline(always)]
unsafe fn copy<S: Simd>(x: &[Lanes], out: &mut [Lanes]) {
    let n = x.len().min(out.len()) * LANES;
    let (from, to) = (x.as_ptr().cast::<f32>(), out.as_mut_ptr().cast::<f32>());
    for i in (0..n).step_by(S::WIDTH) {
        S::will_read(from.wrapping_add(i + AHEAD));
        // SAFETY: the caller guarantees the instruction set; both slices have `n` floats.
        unsafe { S::store(to.add(i), S::load(from.add(i))) };
    }
}
