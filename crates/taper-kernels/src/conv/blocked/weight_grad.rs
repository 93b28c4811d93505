//! The gradient of the weight.
//!
//! Each weight sums, over output pixels, their gradient times the input pixel that the weight reads. A vector of sums
//! covers a tile of up to sixteen vectors of a plane, or the same few vectors of several images; then its lanes are
//! summed in halves. The order depends on the shape alone. It is the same for all weights and for some of them.
//!
//! If rows have no zeros between them, the gradient is shifted along rows instead of the input: once per output channel
//! and column, for all weights.

use super::geometry::{Geometry, Slots};
use crate::{
    lanes::{LANES, Lanes},
    mask::Mask,
    simd::{Ahead, Kernel, Simd, add_sums},
    sizes::{index, offset, product, signed},
};

/// Places of the input pixels that weights read.
#[derive(Clone, Debug)]
pub(super) struct TapReads {
    /// Shifts of the gradient, in columns; only 0 if it is not shifted.
    shifts: Vec<Shift>,
    /// For each tap of an output channel, by shift: the place of the input pixel in floats, for the first group of
    /// channels.
    offsets: Vec<i32>,
    /// For each tap, its index in the order of the weight.
    order: Vec<u32>,
    /// Where the taps of each shift begin, and finally their total number.
    starts: Vec<usize>,
    /// From one group of channels to the next, in floats.
    group_step: usize,
    /// Vectors per plane of the gradient.
    vectors: usize,
}

/// A shift of the gradient.
#[derive(Clone, Debug)]
struct Shift {
    columns: isize,
    /// Bit mask of a plane's lanes that hold a pixel of the shifted gradient; empty if there is no shift.
    pixels: Vec<Lanes>,
}

impl TapReads {
    /// For a convolution with its input in `slots`.
    pub(super) fn new(geometry: &Geometry, slots: Slots) -> Self {
        let (grid, inp) = (geometry.grid, geometry.shape.channels_in);
        let (rows, columns) = geometry.out;
        let vectors = product([rows, grid.pitch]).div_ceil(LANES);
        let mut cols: Vec<isize> = vec![0];
        if grid.is_shifted {
            cols = geometry.taps.iter().flatten().map(|tap| tap.col).collect();
            cols.sort_unstable();
            cols.dedup();
        }
        let (mut offsets, mut order, mut starts) = (Vec::new(), Vec::new(), vec![0]);
        for &shift in &cols {
            for channel in 0..geometry.shape.group_in() {
                for (position, tap) in geometry.taps.iter().enumerate() {
                    let Some(tap) = tap.filter(|tap| !grid.is_shifted || tap.col == shift) else {
                        continue;
                    };
                    let plane = (tap.phase * inp + channel) * slots.len + slots.above;
                    let col = if grid.is_shifted { 0 } else { tap.col * signed(grid.step) };
                    offsets.push(offset(signed(plane) + tap.row * signed(grid.pitch) + col));
                    order.push(index(channel * geometry.taps.len() + position));
                }
            }
            starts.push(order.len());
        }
        let shifts = cols.into_iter().map(|shift| {
            let is_pixel = |at: usize| {
                let from = signed(at % grid.pitch) - shift;
                (0..signed(columns)).contains(&from) && at / grid.pitch < rows
            };
            let lane = |at: usize| f32::from_bits(if is_pixel(at) { u32::MAX } else { 0 });
            let vector = |v: usize| Lanes(std::array::from_fn(|l| lane(v * LANES + l)));
            let pixels = if shift == 0 { Vec::new() } else { (0..vectors).map(vector).collect() };
            Shift { columns: shift, pixels }
        });
        let shifts = shifts.collect();
        let group_step = geometry.shape.group_in() * slots.len;
        Self { shifts, offsets, order, starts, group_step, vectors }
    }

    /// Number of taps of an output channel.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Maximum number of units that a chain of sums covers.
    pub(super) fn units(&self, has_images_in_lanes: bool) -> usize {
        match has_images_in_lanes || self.vectors >= LANES {
            true => 1,
            false => LANES / largest_tile(self.vectors.max(1)),
        }
    }

    /// Moves sums of all weights from the order of shifts to the order of the weight.
    pub(super) fn in_order(&self, sums: &[f32], taps: usize, out: &mut [f32]) {
        out.fill(0.0);
        for (out, sums) in
            out.chunks_exact_mut(taps.max(1)).zip(sums.chunks_exact(self.len().max(1)))
        {
            for (&tap, &sum) in self.order.iter().zip(sums) {
                out[tap as usize] = sum;
            }
        }
    }
}

/// The largest power of two up to sixteen that is at most `n`.
fn largest_tile(n: usize) -> usize {
    (1 << n.ilog2()).min(LANES)
}

/// Positions of the weights with a requested gradient, by output channel and shift.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    /// Where the positions of each channel and shift begin, and finally their total number.
    starts: Vec<u32>,
    /// Places of the input pixels, in floats.
    offsets: Vec<i32>,
    /// Indices into the weight.
    pub(super) indices: Vec<u32>,
}

impl Positions {
    /// The positions of a mask over the weight.
    pub(super) fn new(geometry: &Geometry, reads: &TapReads, wanted: &Mask) -> Self {
        let (taps, n_shifts) = (geometry.shape.taps(), reads.shifts.len());
        // The place of each tap among those of all shifts.
        let mut places = vec![None; taps];
        for shift in 0..n_shifts {
            for at in reads.starts[shift]..reads.starts[shift + 1] {
                places[reads.order[at] as usize] = Some((shift, reads.offsets[at]));
            }
        }
        let n = geometry.shape.channels_out * n_shifts;
        let mut found = Self { starts: vec![0; n + 1], ..Self::default() };
        let mut listed = Vec::new();
        for weight in wanted.kept() {
            let (out, tap) = (weight / taps, weight % taps);
            let Some((shift, place)) = places[tap] else { continue };
            let group = signed(out / geometry.shape.group_out() * reads.group_step);
            found.starts[out * n_shifts + shift + 1] += 1;
            listed.push((out * n_shifts + shift, offset(place as isize + group), index(weight)));
        }
        for i in 0..n {
            found.starts[i + 1] += found.starts[i];
        }
        let mut next = found.starts.clone();
        found.offsets.resize(listed.len(), 0);
        found.indices.resize(listed.len(), 0);
        for (list, place, weight) in listed {
            let at = next[list] as usize;
            next[list] += 1;
            (found.offsets[at], found.indices[at]) = (place, weight);
        }
        found
    }

    /// Number of positions.
    pub(super) fn len(&self) -> usize {
        self.indices.len()
    }
}

/// Some units of input and gradient, in the memory of a thread.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) reads: &'a TapReads,
    pub(super) arena: &'a [f32],
    /// Floats from one unit to the next.
    pub(super) unit: usize,
    pub(super) n_units: usize,
    /// Where the gradient's planes begin in a unit; the input's begin at 0.
    pub(super) grad: usize,
    pub(super) grad_slots: Slots,
    pub(super) channels_out: usize,
    pub(super) group_out: usize,
    /// Whether nothing has been summed yet. Sums then overwrite the values in memory instead of being added to them.
    pub(super) is_first: bool,
}

/// Some vectors of each plane.
#[derive(Clone, Copy)]
struct PlanePart {
    first: usize,
    len: usize,
}

/// Adds the gradient of every weight to `sums`, by output channel and shift.
pub(super) struct AddAll<'a> {
    pub(super) pair: Pair<'a>,
    pub(super) sums: &'a mut [f32],
}

impl Kernel for AddAll<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { pair, sums } = self;
        let n = pair.reads.len();
        assert_eq!(sums.len(), pair.channels_out * n, "one sum per weight");
        let mut is_first = pair.is_first;
        for part in pair.parts() {
            let mut out = 0;
            while out < pair.channels_out {
                let left = pair.group_out - out % pair.group_out;
                let sums = &mut sums[out * n..];
                // SAFETY: guaranteed by the caller; the channels lie in one group.
                out += unsafe {
                    match left {
                        4.. if S::ACCUMULATORS >= 24 => {
                            pair.channels::<S, 4>(part, out, sums, is_first)
                        }
                        2.. => pair.channels::<S, 2>(part, out, sums, is_first),
                        _ => pair.channels::<S, 1>(part, out, sums, is_first),
                    }
                };
            }
            is_first = false;
        }
    }
}

/// Adds the gradient of the weights at `positions` to `sums`, one for each.
pub(super) struct AddAt<'a> {
    pub(super) pair: Pair<'a>,
    pub(super) positions: &'a Positions,
    pub(super) sums: &'a mut [f32],
    pub(super) ahead: &'a mut Ahead,
}

impl Kernel for AddAt<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { pair, positions, sums, ahead } = self;
        assert_eq!(sums.len(), positions.len(), "one sum per position");
        let n_shifts = pair.reads.shifts.len();
        let mut is_first = pair.is_first;
        let mut shifted = [[Lanes::ZERO; LANES]; 1];
        for part in pair.parts() {
            for (list, ends) in positions.starts.windows(2).enumerate() {
                let (mut at, end) = (ends[0] as usize, ends[1] as usize);
                ahead.step();
                if at == end {
                    continue;
                }
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let grads =
                        pair.shifted::<S, 1>(part, list / n_shifts, list % n_shifts, &mut shifted);
                    while at < end {
                        let next = end.min(at + POSITIONS);
                        let (offsets, sums) = (&positions.offsets[at..next], &mut sums[at..next]);
                        pair.positions::<S>(part, grads, offsets, sums, is_first);
                        at = next;
                    }
                }
            }
            is_first = false;
        }
    }
}

/// Positions that are summed side by side. Fewer would take as long, since each addition waits for the one before.
const POSITIONS: usize = 8;

/// Where a part of the gradient of some channels lies: the first vector of each channel, and the floats from one unit
/// to the next.
#[derive(Clone, Copy)]
struct Grads<const O: usize> {
    at: [*const f32; O],
    unit: usize,
}

impl Pair<'_> {
    /// Number of steps of [`AddAt`] that prefetch memory.
    pub(super) fn steps(&self, positions: &Positions) -> usize {
        self.parts().count() * positions.starts.len().saturating_sub(1)
    }

    /// Whole tiles, then the rest in powers of two.
    fn parts(&self) -> impl Iterator<Item = PlanePart> + use<> {
        let n = self.reads.vectors;
        let mut first = 0;
        std::iter::from_fn(move || {
            (first < n).then(|| {
                let len = largest_tile(n - first);
                first += len;
                PlanePart { first: first - len, len }
            })
        })
    }

    /// The shifted gradient of `O` channels: in `memory`, or in place if the shift is 0.
    #[inline(always)]
    unsafe fn shifted<S: Simd, const O: usize>(
        &self,
        part: PlanePart,
        out: usize,
        shift: usize,
        memory: &mut [[Lanes; LANES]; O],
    ) -> Grads<O> {
        assert!(part.len * self.n_units <= LANES, "{} units are no chain", self.n_units);
        let shift = &self.reads.shifts[shift];
        let place = |o: usize| {
            self.grad + (out + o) * self.grad_slots.len + self.grad_slots.above + part.first * LANES
        };
        // SAFETY: the planes lie in the arena, with at least as many floats before and after them as shifts reach.
        // `memory` has sixteen vectors, and a part times the number of units has at most as many, as asserted.
        unsafe {
            if shift.columns == 0 {
                let at = std::array::from_fn(|o| self.arena.as_ptr().add(place(o)));
                return Grads { at, unit: self.unit };
            }
            let n = part.len * LANES;
            let pixels = shift.pixels[part.first..][..part.len].as_ptr().cast::<f32>();
            for (o, memory) in memory.iter_mut().enumerate() {
                let to = memory.as_mut_ptr().cast::<f32>();
                for unit in 0..self.n_units {
                    let from = self.arena.as_ptr().add(unit * self.unit + place(o));
                    let from = from.offset(-shift.columns);
                    for i in (0..n).step_by(S::WIDTH) {
                        let value = S::and(S::load(from.add(i)), S::load(pixels.add(i)));
                        S::store(to.add(unit * n + i), value);
                    }
                }
            }
            let at = std::array::from_fn(|o| memory[o].as_ptr().cast());
            Grads { at, unit: n }
        }
    }

    /// Computes `O` output channels with all their weights; returns `O`.
    #[inline(always)]
    unsafe fn channels<S: Simd, const O: usize>(
        &self,
        part: PlanePart,
        out: usize,
        sums: &mut [f32],
        is_first: bool,
    ) -> usize {
        let n = self.reads.len();
        let group = out / self.group_out * self.reads.group_step;
        let mut memory = [[Lanes::ZERO; LANES]; O];
        for shift in 0..self.reads.shifts.len() {
            let (mut at, end) = (self.reads.starts[shift], self.reads.starts[shift + 1]);
            // SAFETY: guaranteed by the caller.
            unsafe {
                let grads = self.shifted::<S, O>(part, out, shift, &mut memory);
                while at < end {
                    let (offsets, sums) = (&self.reads.offsets[at..end], &mut sums[at..]);
                    at += match end - at {
                        6.. => self.tile::<S, O, 6>(part, grads, offsets, group, sums, n, is_first),
                        3.. => self.tile::<S, O, 3>(part, grads, offsets, group, sums, n, is_first),
                        2.. => self.tile::<S, O, 2>(part, grads, offsets, group, sums, n, is_first),
                        _ => self.tile::<S, O, 1>(part, grads, offsets, group, sums, n, is_first),
                    };
                }
            }
        }
        O
    }

    /// Computes an output channel at up to [`POSITIONS`] places of the input.
    #[inline(always)]
    unsafe fn positions<S: Simd>(
        &self,
        part: PlanePart,
        grads: Grads<1>,
        offsets: &[i32],
        sums: &mut [f32],
        is_first: bool,
    ) {
        let mut padded = [offsets[0]; POSITIONS];
        padded[..offsets.len()].copy_from_slice(offsets);
        let mut found = [0.0; POSITIONS];
        // SAFETY: guaranteed by the caller.
        unsafe {
            self.tile::<S, 1, POSITIONS>(part, grads, &padded, 0, &mut found, 0, true);
        }
        for (sum, found) in sums.iter_mut().zip(found) {
            *sum = if is_first { found } else { *sum + found };
        }
    }

    /// Computes `O` output channels at `T` places of the input; returns `T`. The sums of the next channel lie `step`
    /// places further on.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "a separate function has all registers")]
    unsafe fn tile<S: Simd, const O: usize, const T: usize>(
        &self,
        part: PlanePart,
        grads: Grads<O>,
        offsets: &[i32],
        group: usize,
        sums: &mut [f32],
        step: usize,
        is_first: bool,
    ) -> usize {
        let input = signed(group + part.first * LANES);
        // SAFETY: the places lie in the arena, since `TapReads` has computed them for it.
        unsafe {
            let input =
                std::array::from_fn(|t| self.arena.as_ptr().offset(input + offsets[t] as isize));
            let tile = WeightTile::<O, T> {
                grads,
                input,
                len: part.len * LANES,
                unit: self.unit,
                n_units: self.n_units,
            };
            let totals = S::call(tile);
            add_sums::<S, T>(&totals, sums, step, is_first);
        }
        T
    }
}

/// `O` output channels and `T` places of the input.
struct WeightTile<const O: usize, const T: usize> {
    grads: Grads<O>,
    input: [*const f32; T],
    /// Floats of a unit.
    len: usize,
    /// Floats from one unit of the input to the next.
    unit: usize,
    n_units: usize,
}

impl<const O: usize, const T: usize> Kernel for WeightTile<O, T> {
    type Out = [[Lanes; T]; O];

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [[Lanes; T]; O] {
        let mut totals = [[Lanes::ZERO; T]; O];
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let acc = self.lanes::<S>(part);
                for (totals, acc) in totals.iter_mut().zip(acc) {
                    for (total, acc) in totals.iter_mut().zip(acc) {
                        S::store(total.0.as_mut_ptr().add(part), acc);
                    }
                }
            }
        }
        totals
    }
}

impl<const O: usize, const T: usize> WeightTile<O, T> {
    /// The sums lane by lane, for the vector of lanes from `part` on.
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, part: usize) -> [[S::V; T]; O] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut acc = [[S::splat(0.0); T]; O];
            let (mut grads, mut input) = (self.grads.at, self.input);
            for _ in 0..self.n_units {
                for i in (part..self.len).step_by(LANES) {
                    let mut loaded = [S::splat(0.0); O];
                    for o in 0..O {
                        loaded[o] = S::load(grads[o].add(i));
                    }
                    for t in 0..T {
                        let pixels = S::load(input[t].add(i));
                        for o in 0..O {
                            acc[o][t] = S::fma(loaded[o], pixels, acc[o][t]);
                        }
                    }
                }
                grads = grads.map(|at| at.wrapping_add(self.grads.unit));
                input = input.map(|at| at.wrapping_add(self.unit));
            }
            acc
        }
    }
}
