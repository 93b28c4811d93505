//! Stores planes that have just been computed, and sums them on the way.

use super::{arena::Side, grads::GradPart};
use crate::{
    fused::{ActivationView, GradRun, GradSum, MomentSums, PassWhere, Placed},
    lanes::{LANES, Lanes, keep_pixels},
    simd::{Kernel, Simd},
};

/// Stores a unit of the output.
pub(super) struct StoreOutput<'a> {
    pub(super) side: Side<'a>,
    /// The unit of the arena.
    pub(super) unit: usize,
    pub(super) planes: &'a [f32],
    pub(super) channel: &'a mut Vec<Lanes>,
    pub(super) bias: Option<&'a [f32]>,
    /// Bit mask of a channel's lanes that hold pixels; `None` if all lanes do.
    pub(super) pixels: Option<&'a [Lanes]>,
    /// One entry per channel; empty if moments are not requested.
    pub(super) moments: &'a mut [MomentSums],
    /// The output from its unit `first` on.
    pub(super) out: &'a mut [Lanes],
    pub(super) first: usize,
}

impl Kernel for StoreOutput<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { side, unit, planes, channel, bias, pixels, moments, out, first } = self;
        let (n, len) = (side.vectors, side.unit);
        for c in 0..side.plane.channels {
            let bias = bias.map_or(0.0, |bias| bias[c]);
            // A bias of −0 would keep negative zeros of the sums.
            let bias = if bias == 0.0 { 0.0 } else { bias };
            // SAFETY: the caller guarantees the instruction set.
            let channel = unsafe { side.channel::<S>(planes, c, channel) };
            for (stored, from) in side.stored(unit).zip(channel.chunks_exact(n.max(1))) {
                let n_pixels = side.plane.filled(stored) * side.plane.height * side.plane.width;
                let to = &mut out[(stored - first) * len + c * n..][..n];
                // SAFETY: the caller guarantees the instruction set.
                unsafe {
                    if let Some(moments) = moments.get_mut(c) {
                        moments.add_stored::<S>(from, bias, pixels, n_pixels, to);
                        continue;
                    }
                    store::<S>(from, bias, to);
                    if let Some(pixels) = pixels {
                        keep_pixels::<S>(pixels, to);
                    }
                }
            }
        }
        S::fence();
    }
}

/// Stores sums plus a bias. Negative zeros become positive.
#[inline(always)]
unsafe fn store<S: Simd>(from: &[Lanes], bias: f32, to: &mut [Lanes]) {
    let n = from.len().min(to.len()) * LANES;
    let (from, to) = (from.as_ptr().cast::<f32>(), to.as_mut_ptr().cast::<f32>());
    // SAFETY: both have `n` floats; the caller guarantees the instruction set.
    unsafe {
        let bias = S::splat(bias);
        for i in (0..n).step_by(S::WIDTH) {
            S::store(to.add(i), S::add(S::load(from.add(i)), bias));
        }
    }
}

/// [`Finish`](super::Finish) without its sums.
#[derive(Clone, Copy)]
pub(super) struct Finishing<'a> {
    pub(super) pass: PassWhere<'a>,
    pub(super) x: ActivationView<'a>,
    pub(super) mean: &'a [f32],
    pub(super) scale: Option<&'a [f32]>,
}

/// Stores a unit of the input's gradient.
pub(super) struct StoreGrad<'a, 'b> {
    pub(super) side: Side<'a>,
    /// The unit of the arena.
    pub(super) unit: usize,
    pub(super) planes: &'a [f32],
    pub(super) channel: &'a mut Vec<Lanes>,
    pub(super) finish: Option<Finishing<'a>>,
    /// One entry per channel; empty without `finish`.
    pub(super) sums: &'a mut [GradSum],
    /// The gradient from its unit `first` on, one part of the channels after another.
    pub(super) parts: &'a mut [GradPart<'b>],
    pub(super) first: usize,
}

impl Kernel for StoreGrad<'_, '_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { side, unit, planes, channel, finish, sums, parts, first } = self;
        let n = side.vectors;
        let mut c = 0;
        for part in parts.iter_mut() {
            let is_added = part.is_added;
            for within in 0..part.channels {
                // SAFETY: the caller guarantees the instruction set.
                let channel = unsafe { side.channel::<S>(planes, c, channel) };
                for (stored, from) in side.stored(unit).zip(channel.chunks_exact(n.max(1))) {
                    let at = ((stored - first) * part.channels + within) * n;
                    let to = &mut part.out[at..at + n];
                    // SAFETY: the caller guarantees the instruction set.
                    unsafe {
                        if let Some(Finishing { pass, x, mean, scale }) = finish {
                            let of = side.channel_of(stored, c);
                            let run = GradRun { x, pass, mean: mean[c], of };
                            let placed = Placed { is_added, scale: scale.map(|scale| scale[c]) };
                            sums[c].add_stored::<S>(from, run, to, placed);
                        } else if is_added {
                            add::<S>(from, to);
                        } else {
                            store::<S>(from, 0.0, to);
                        }
                    }
                }
                c += 1;
            }
        }
        S::fence();
    }
}

/// Adds to the values in memory. Negative zeros become positive.
#[inline(always)]
unsafe fn add<S: Simd>(from: &[Lanes], to: &mut [Lanes]) {
    let n = from.len().min(to.len()) * LANES;
    let (from, to) = (from.as_ptr().cast::<f32>(), to.as_mut_ptr().cast::<f32>());
    // SAFETY: both have `n` floats; the caller guarantees the instruction set.
    unsafe {
        for i in (0..n).step_by(S::WIDTH) {
            let sum = S::add(S::load(from.add(i)), S::load(to.add(i)));
            S::store(to.add(i), S::add(sum, S::splat(0.0)));
        }
    }
}
