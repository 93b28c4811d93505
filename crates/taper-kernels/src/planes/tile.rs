//! The inner loops of a convolution on planes: a tile of one or several output channels.

use super::conv::{Conv, Finish};
use crate::simd::{Kernel, Simd};
use std::{arch::asm, ops::Range};

/// A weight, and the distance in bytes from the begin of a tile to the pixels that it multiplies.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Tap {
    pub(super) weight: f32,
    pub(super) at: u32,
}

/// Value of [`Own::ROW`] for planes whose rows have zeros behind them: a shift takes these from one row to the next.
pub(super) const PADDED: usize = 255;
/// Value of [`Own::ROW`] for planes whose rows lie one behind the other: masks set what a shift takes in from another row to 0.
pub(super) const MASKED: usize = 0;

/// Blocks of a convolution whose output channels have taps of their own: `NV` vectors of each of `NO` channels. `ROW` is the
/// number of vectors in a row where rows are whole vectors, or [`PADDED`] or [`MASKED`].
pub(super) struct Own<'a, const NV: usize, const NO: usize, const ROW: usize> {
    pub(super) conv: &'a Conv,
    pub(super) arena: *mut f32,
    pub(super) blocks: Range<usize>,
}

impl<const NV: usize, const NO: usize, const ROW: usize> Kernel for Own<'_, NV, NO, ROW> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let conv = self.conv;
        for (tile, &start) in conv.tiles.iter().enumerate() {
            for block in self.blocks.clone() {
                // SAFETY: the caller vouches for the instructions, and for an arena in which `Conv::new` has checked every
                // place that a tile reads or writes.
                unsafe { own::<S, NV, NO, ROW>(conv, self.arena, tile, start, block) };
            }
        }
    }
}

/// One block of one tile.
#[inline(always)]
unsafe fn own<S: Simd, const NV: usize, const NO: usize, const ROW: usize>(
    conv: &Conv,
    arena: *mut f32,
    tile: usize,
    start: u32,
    block: usize,
) {
    let (down, up) = (conv.down, conv.up);
    let bounds = &conv.bounds[block * (down + up + 1)..][..down + up + 2];
    // SAFETY: see `run`.
    unsafe {
        let base = arena.cast_const().byte_add(start as usize);
        let zero = S::splat(0.0);
        let mut sums = [[zero; NV]; NO];
        // What pixels to the right contribute, then those to the left: sums are shifted, not pixels.
        let mut side = [[zero; NV]; NO];
        let has_side = bounds[0] != bounds[down];
        if has_side {
            for s in 0..down {
                add::<S, NV, NO>(&mut sums, base, conv.taps(bounds[s]..bounds[s + 1]));
                for sums in &mut sums {
                    shift_down::<S, NV, ROW>(sums, conv);
                }
            }
            side = sums;
            sums = [[zero; NV]; NO];
        }
        if bounds[down] != bounds[down + up] {
            for s in down..down + up {
                add::<S, NV, NO>(&mut sums, base, conv.taps(bounds[s]..bounds[s + 1]));
                for sums in &mut sums {
                    shift_up::<S, NV, ROW>(sums, conv);
                }
            }
        }
        for o in 0..NO {
            let bias = S::splat(*conv.bias.get_unchecked(block * NO + o));
            for v in 0..NV {
                sums[o][v] = S::add(sums[o][v], bias);
            }
        }
        if has_side {
            for o in 0..NO {
                for v in 0..NV {
                    sums[o][v] = S::add(sums[o][v], side[o][v]);
                }
            }
        }
        add::<S, NV, NO>(&mut sums, base, conv.taps(bounds[down + up]..bounds[down + up + 1]));
        for (o, sums) in sums.iter_mut().enumerate() {
            let out = *conv.outputs.get_unchecked(block * NO + o);
            if out == u32::MAX {
                break;
            }
            finish::<S, NV>(sums, conv, tile, arena.byte_add((out + start) as usize));
        }
    }
}

/// Adds weights times pixels: `NO` taps for each step, one for each output channel.
#[inline(always)]
unsafe fn add<S: Simd, const NV: usize, const NO: usize>(
    sums: &mut [[S::V; NV]; NO],
    base: *const f32,
    taps: &[Tap],
) {
    let mut at = taps.as_ptr();
    // SAFETY: see `run`; taps come in whole steps of `NO`.
    unsafe {
        let end = at.add(taps.len());
        let two = at.add(taps.len() & !(2 * NO - 1));
        while at != two {
            step::<S, NV, NO>(sums, base, at);
            step::<S, NV, NO>(sums, base, at.add(NO));
            at = at.add(2 * NO);
        }
        while at != end {
            step::<S, NV, NO>(sums, base, at);
            at = at.add(NO);
        }
    }
}

#[inline(always)]
unsafe fn step<S: Simd, const NV: usize, const NO: usize>(
    sums: &mut [[S::V; NV]; NO],
    base: *const f32,
    taps: *const Tap,
) {
    // SAFETY: see `run`.
    unsafe {
        for (o, sums) in sums.iter_mut().enumerate() {
            let Tap { weight, at } = *taps.add(o);
            let pixels = one_register(base.byte_add(at as usize));
            let weight = S::splat(weight);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(weight, S::load(pixels.add(v * S::WIDTH)), *sum);
            }
        }
    }
}

/// The same place, in a register of its own: loads that add a base, an index and a distance cost more than those that add
/// two of them.
#[inline(always)]
fn one_register(mut place: *const f32) -> *const f32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: no instruction is in it.
    unsafe {
        asm!("/* {0} */", inout(reg) place, options(pure, nomem, nostack, preserves_flags));
    }
    place
}

/// Moves sums by a column to the right; a row begins with 0.
#[inline(always)]
unsafe fn shift_up<S: Simd, const NV: usize, const ROW: usize>(
    sums: &mut [S::V; NV],
    conv: &Conv,
) {
    // SAFETY: see `run`.
    unsafe {
        let before = *sums;
        for v in 0..NV {
            let is_first = v == 0 || ROW != MASKED && v % ROW == 0;
            let carried = if is_first { S::splat(0.0) } else { before[v - 1] };
            sums[v] = S::up(before[v], carried);
            if ROW == MASKED {
                sums[v] = S::and(sums[v], S::load(conv.not_first.as_ptr().add(v * S::WIDTH)));
            }
        }
    }
}

/// Moves sums by a column to the left; a row ends with 0.
#[inline(always)]
unsafe fn shift_down<S: Simd, const NV: usize, const ROW: usize>(
    sums: &mut [S::V; NV],
    conv: &Conv,
) {
    // SAFETY: see `run`.
    unsafe {
        let before = *sums;
        for v in 0..NV {
            let is_last = v == NV - 1 || ROW != MASKED && (v + 1) % ROW == 0;
            let carried = if is_last { S::splat(0.0) } else { before[v + 1] };
            sums[v] = S::down(before[v], carried);
            if ROW == MASKED {
                sums[v] = S::and(sums[v], S::load(conv.not_last.as_ptr().add(v * S::WIDTH)));
            }
        }
    }
}

/// Applies what follows, and stores.
#[inline(always)]
unsafe fn finish<S: Simd, const NV: usize>(
    sums: &mut [S::V; NV],
    conv: &Conv,
    tile: usize,
    out: *mut f32,
) {
    // SAFETY: see `run`.
    unsafe {
        match conv.finish {
            Finish::None => {}
            Finish::Clip { min, max } => {
                let (min, max) = (S::splat(min), S::splat(max));
                for sum in sums.iter_mut() {
                    *sum = S::at_most(S::at_least(*sum, min), max);
                }
            }
            Finish::Leaky { slope } => {
                let slope = S::splat(slope);
                for sum in sums.iter_mut() {
                    let below = S::mul(S::at_most(*sum, S::splat(0.0)), slope);
                    *sum = S::add(S::at_least(*sum, S::splat(0.0)), below);
                }
            }
        }
        if conv.masks.is_empty() {
            for (v, sum) in sums.iter().enumerate() {
                S::store(out.add(v * S::WIDTH), *sum);
            }
        } else {
            let mask = conv.masks.as_ptr().add(tile * NV * S::WIDTH);
            for (v, sum) in sums.iter().enumerate() {
                let kept = S::and(*sum, S::load(mask.add(v * S::WIDTH)));
                S::store(out.add(v * S::WIDTH), kept);
            }
        }
    }
}
