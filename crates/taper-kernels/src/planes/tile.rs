//! Micro-kernels of a convolution on planes: a register tile of one or several output channels.
#![allow(clippy::needless_range_loop, reason = "loops over constants by index become registers")]

use super::{
    conv::{MASKED, is_needed},
    spec::{Epilogue, TapLists},
};
use crate::simd::{Ahead, Kernel, Simd};
use std::{marker::PhantomData, ops::Range};

/// A weight, and the distance in bytes from the start of a tile to the pixels that it multiplies.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Tap {
    pub(super) weight: f32,
    pub(super) at: u32,
}

/// The tables of a convolution, as packed by [`PlaneConv`](super::PlaneConv). They are a copy: the compiler then knows
/// that no store changes them.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) finish: Epilogue,
    pub(super) flushes: bool,
    /// Groups of taps: `down` groups of sums that are shifted left, the centre, and `up` groups of sums that are
    /// shifted right.
    pub(super) down: usize,
    pub(super) up: usize,
    pub(super) in_place: bool,
    pub(super) tiles: &'a [u32],
    pub(super) outputs: &'a [u32],
    pub(super) bias: &'a [f32],
    pub(super) bounds: &'a [u32],
    pub(super) taps: &'a [Tap],
    pub(super) places: &'a [u32],
    pub(super) weights: &'a [f32],
    pub(super) addend_bounds: &'a [u32],
    pub(super) not_first: &'a [f32],
    pub(super) not_last: &'a [f32],
    pub(super) masks: &'a [f32],
}

impl<'a> Tables<'a> {
    /// The bounds of some groups of a block.
    #[inline(always)]
    unsafe fn bounds(&self, block: usize, groups: Range<usize>) -> Range<usize> {
        let first = block * (self.down + self.up + 1);
        // SAFETY: `PlaneConv::new` has pushed a bound for each group of each block, and a last one.
        unsafe {
            let bound = |group: usize| *self.bounds.get_unchecked(first + group) as usize;
            bound(groups.start)..bound(groups.end)
        }
    }

    /// The taps of a group of a block in which each channel has its own taps.
    #[inline(always)]
    unsafe fn taps(&self, block: usize, group: usize) -> &'a [Tap] {
        // SAFETY: see `bounds`; these bounds are those of taps.
        unsafe { self.taps.get_unchecked(self.bounds(block, group..group + 1)) }
    }

    /// The places of a group of a block in which channels share them, and the `each` weights of each place.
    #[inline(always)]
    unsafe fn shared(&self, block: usize, group: usize, each: usize) -> (&'a [u32], *const f32) {
        // SAFETY: see `bounds`; these bounds are those of places, and there are `each` weights for each place.
        unsafe {
            let range = self.bounds(block, group..group + 1);
            (
                self.places.get_unchecked(range.clone()),
                self.weights.as_ptr().add(range.start * each),
            )
        }
    }

    /// The taps of a block that its channels do not share.
    #[inline(always)]
    unsafe fn addends(&self, block: usize) -> &'a [Tap] {
        // SAFETY: `PlaneConv::new` has pushed a bound for each block, and a last one.
        unsafe {
            let bound = |block: usize| *self.addend_bounds.get_unchecked(block) as usize;
            self.taps.get_unchecked(bound(block)..bound(block + 1))
        }
    }
}

/// Blocks of a convolution, tile by tile: `NV` vectors of each of `NO` output channels. `ROW` is the number of vectors
/// per row if rows are whole vectors; otherwise it is `PADDED` or [`MASKED`].
pub(super) struct Tiles<'a, G, const NV: usize, const NO: usize, const ROW: usize> {
    tables: Tables<'a>,
    arena: *mut f32,
    blocks: Range<usize>,
    ahead: &'a mut Ahead,
    groups: PhantomData<G>,
}

impl<'a, G, const NV: usize, const NO: usize, const ROW: usize> Tiles<'a, G, NV, NO, ROW> {
    /// Tiles of these blocks. `PlaneConv::new` must have checked, for this arena, every place that a tile reads or
    /// writes.
    pub(super) fn new(
        tables: Tables<'a>,
        arena: *mut f32,
        blocks: Range<usize>,
        ahead: &'a mut Ahead,
    ) -> Self {
        Self { tables, arena, blocks, ahead, groups: PhantomData }
    }
}

impl<G: Groups, const NV: usize, const NO: usize, const ROW: usize> Kernel
    for Tiles<'_, G, NV, NO, ROW>
{
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if const { !is_needed(S::WIDTH, S::MOST_VECTORS, G::PACKING, NV, NO) } {
            unreachable!("no plane uses this tile");
        }
        let tables = &self.tables;
        for (tile, &start) in tables.tiles.iter().enumerate() {
            for block in self.blocks.clone() {
                self.ahead.step();
                // SAFETY: the caller guarantees the instruction set, and the places are checked, see `new`.
                unsafe {
                    block_of_tile::<S, G, NV, NO, ROW>(tables, self.arena, tile, start, block)
                };
            }
        }
    }
}

/// One block of one tile.
#[inline(always)]
unsafe fn block_of_tile<S: Simd, G: Groups, const NV: usize, const NO: usize, const ROW: usize>(
    tables: &Tables<'_>,
    arena: *mut f32,
    tile: usize,
    start: u32,
    block: usize,
) {
    let (down, up) = (tables.down, tables.up);
    // SAFETY: see `run`.
    unsafe {
        let base = arena.cast_const().byte_add(start as usize);
        let zero = S::splat(0.0);
        let mut bias = [zero; NO];
        let mut sums = [[zero; NV]; NO];
        for o in 0..NO {
            bias[o] = S::splat(*tables.bias.get_unchecked(block * NO + o));
            sums[o] = [bias[o]; NV];
        }
        // Sums are shifted, not pixels.
        if !tables.bounds(block, 0..down).is_empty() {
            for group in 0..down {
                G::add::<S, NV, NO>(&mut sums, base, tables, block, group);
                if !tables.in_place {
                    for o in 0..NO {
                        shift_down::<S, NV, ROW>(&mut sums[o], bias[o], tables);
                    }
                }
            }
        }
        G::add::<S, NV, NO>(&mut sums, base, tables, block, down);
        G::add_planes::<S, NV, NO>(&mut sums, base, tables, block);
        let lefts = down + 1..down + 1 + up;
        if !tables.bounds(block, lefts.clone()).is_empty() {
            let mut left = [[zero; NV]; NO];
            for group in lefts {
                G::add::<S, NV, NO>(&mut left, base, tables, block, group);
                for left in left.iter_mut().filter(|_| !tables.in_place) {
                    shift_up::<S, NV, ROW>(left, tables);
                }
            }
            for (sums, left) in sums.iter_mut().zip(&left) {
                for (sum, &left) in sums.iter_mut().zip(left) {
                    *sum = S::add(*sum, left);
                }
            }
        }
        // A copy: the compiler keeps values in memory that a loop indexes. Without the copy, these would be the sums of
        // the inner loops.
        let mut finished = sums;
        for (o, sums) in finished.iter_mut().enumerate() {
            let out = *tables.outputs.get_unchecked(block * NO + o);
            if out == u32::MAX {
                break;
            }
            finish::<S, NV>(sums, tables, tile, arena.byte_add((out + start) as usize));
        }
    }
}

/// How the weights of a block are packed.
pub(super) trait Groups {
    const PACKING: TapLists;

    /// Adds weights times pixels: the taps of a group.
    unsafe fn add<S: Simd, const NV: usize, const NO: usize>(
        sums: &mut [[S::V; NV]; NO],
        base: *const f32,
        tables: &Tables<'_>,
        block: usize,
        group: usize,
    );

    /// Adds planes that are in no group.
    #[inline(always)]
    unsafe fn add_planes<S: Simd, const NV: usize, const NO: usize>(
        _sums: &mut [[S::V; NV]; NO],
        _base: *const f32,
        _tables: &Tables<'_>,
        _block: usize,
    ) {
    }
}

/// Each output channel has its own taps: each step has `NO` taps, one per channel.
pub(super) struct Own;

impl Groups for Own {
    const PACKING: TapLists = TapLists::Own;

    #[inline(always)]
    unsafe fn add<S: Simd, const NV: usize, const NO: usize>(
        sums: &mut [[S::V; NV]; NO],
        base: *const f32,
        tables: &Tables<'_>,
        block: usize,
        group: usize,
    ) {
        // SAFETY: see `run`; taps come in whole steps of `NO`.
        unsafe {
            let taps = tables.taps(block, group);
            let mut at = taps.as_ptr();
            let end = at.add(taps.len());
            // Two steps at a time are faster for large tiles, but slower for small ones.
            if NV >= 8 {
                let two = at.add(taps.len() / (2 * NO) * (2 * NO));
                while at != two {
                    step::<S, NV, NO>(sums, base, at);
                    step::<S, NV, NO>(sums, base, at.add(NO));
                    at = at.add(2 * NO);
                }
            }
            while at != end {
                step::<S, NV, NO>(sums, base, at);
                at = at.add(NO);
            }
        }
    }
}

/// All output channels have a weight for each tap.
pub(super) struct Shared;

impl Groups for Shared {
    const PACKING: TapLists = TapLists::Shared;

    #[inline(always)]
    unsafe fn add<S: Simd, const NV: usize, const NO: usize>(
        sums: &mut [[S::V; NV]; NO],
        base: *const f32,
        tables: &Tables<'_>,
        block: usize,
        group: usize,
    ) {
        let sums = sums.as_mut_ptr().cast();
        // SAFETY: see `run`; there are `NO` weights for each place.
        unsafe {
            let (places, weights) = tables.shared(block, group, NO);
            S::call(Products::<NV, NO> { sums, base, places, weights });
        }
    }

    #[inline(always)]
    unsafe fn add_planes<S: Simd, const NV: usize, const NO: usize>(
        sums: &mut [[S::V; NV]; NO],
        base: *const f32,
        tables: &Tables<'_>,
        block: usize,
    ) {
        // SAFETY: see `run`.
        unsafe {
            for taps in tables.addends(block).chunks_exact(NO) {
                step::<S, NV, NO>(sums, base, taps.as_ptr());
            }
        }
    }
}

/// Adds pixels times the weights of all channels. As a separate function it has all registers for the sums.
struct Products<'a, const NV: usize, const NO: usize> {
    /// `NV` vectors of each channel.
    sums: *mut f32,
    base: *const f32,
    places: &'a [u32],
    /// `NO` for each place.
    weights: *const f32,
}

impl<const NV: usize, const NO: usize> Kernel for Products<'_, NV, NO> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut weights = self.weights;
        let at = |o: usize, v: usize| (o * NV + v) * S::WIDTH;
        // SAFETY: see `Shared::add`.
        unsafe {
            let mut sums = [[S::splat(0.0); NV]; NO];
            for o in 0..NO {
                for v in 0..NV {
                    sums[o][v] = S::load(self.sums.add(at(o, v)));
                }
            }
            for &place in self.places {
                let pixels = one_register(self.base.byte_add(place as usize));
                // The smaller operand stays in registers.
                if NO < NV {
                    let mut loaded = [S::splat(0.0); NO];
                    for o in 0..NO {
                        loaded[o] = S::splat(*weights.add(o));
                    }
                    for v in 0..NV {
                        let pixels = S::load(pixels.add(v * S::WIDTH));
                        for o in 0..NO {
                            sums[o][v] = S::fma(loaded[o], pixels, sums[o][v]);
                        }
                    }
                } else {
                    let mut loaded = [S::splat(0.0); NV];
                    for v in 0..NV {
                        loaded[v] = S::load(pixels.add(v * S::WIDTH));
                    }
                    for o in 0..NO {
                        let weight = S::splat(*weights.add(o));
                        for v in 0..NV {
                            sums[o][v] = S::fma(weight, loaded[v], sums[o][v]);
                        }
                    }
                }
                weights = weights.add(NO);
            }
            for o in 0..NO {
                for v in 0..NV {
                    S::store(self.sums.add(at(o, v)), sums[o][v]);
                }
            }
        }
    }
}

/// Adds a tap of each output channel.
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

/// The same address in one register. Loads that add a base, an index and a distance are slower than loads that add two
/// of these.
#[inline(always)]
fn one_register(place: *const f32) -> *const f32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let place = {
        let mut place = place;
        // SAFETY: the assembly contains no instruction.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) place, options(pure, readonly, nostack, preserves_flags));
        }
        place
    };
    place
}

/// Shifts sums to the right by one column; a row then begins with 0.
#[inline(always)]
unsafe fn shift_up<S: Simd, const NV: usize, const ROW: usize>(
    sums: &mut [S::V; NV],
    tables: &Tables<'_>,
) {
    // SAFETY: see `run`.
    unsafe {
        let before = *sums;
        for v in 0..NV {
            let is_first = v == 0 || ROW != MASKED && v % ROW == 0;
            let carried = if is_first { S::splat(0.0) } else { before[v - 1] };
            sums[v] = S::up(before[v], carried);
            if ROW == MASKED {
                sums[v] = S::and(sums[v], S::load(tables.not_first.as_ptr().add(v * S::WIDTH)));
            }
        }
    }
}

/// Shifts sums to the left by one column; a row then ends with the bias, since all pixels beyond it are 0.
#[inline(always)]
unsafe fn shift_down<S: Simd, const NV: usize, const ROW: usize>(
    sums: &mut [S::V; NV],
    bias: S::V,
    tables: &Tables<'_>,
) {
    // SAFETY: see `run`.
    unsafe {
        let before = *sums;
        for v in 0..NV {
            let is_last = v == NV - 1 || ROW != MASKED && (v + 1) % ROW == 0;
            let carried = if is_last { bias } else { before[v + 1] };
            sums[v] = S::down(before[v], carried);
            if ROW == MASKED {
                let is_kept = S::load(tables.not_last.as_ptr().add(v * S::WIDTH));
                sums[v] = S::select(is_kept, sums[v], bias);
            }
        }
    }
}

/// Applies the epilogue, and stores.
#[inline(always)]
unsafe fn finish<S: Simd, const NV: usize>(
    sums: &mut [S::V; NV],
    tables: &Tables<'_>,
    tile: usize,
    out: *mut f32,
) {
    // SAFETY: see `run`.
    unsafe {
        tables.finish.apply::<S, NV>(tables.flushes, sums);
        if tables.masks.is_empty() {
            for (v, sum) in sums.iter().enumerate() {
                S::store(out.add(v * S::WIDTH), *sum);
            }
        } else {
            let mask = tables.masks.as_ptr().add(tile * NV * S::WIDTH);
            for (v, sum) in sums.iter().enumerate() {
                let kept = S::and(*sum, S::load(mask.add(v * S::WIDTH)));
                S::store(out.add(v * S::WIDTH), kept);
            }
        }
    }
}
