//! The inner loops of the weight's gradient.
//!
//! Each weight sums, over the pixels of a band, the gradient of its output pixel times the input pixel that it read: one
//! chain of multiply-adds per lane in the order of rows and columns. Then the lanes are summed in halves.

use super::{gather::Gather, packed::Packed};
use crate::{
    lanes::{LANES, Lanes},
    mask::Mask,
    simd::{Kernel, Simd, add_sums, halves},
    sizes::{index, offset, signed},
};
use std::ops::Range;

/// Positions of weights whose gradient is wanted, by output channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    /// Where each output channel's positions begin, and at last their number.
    starts: Vec<u32>,
    /// Places of the input pixels, in floats.
    offsets: Vec<i32>,
    /// Indices into the weight.
    pub(super) indices: Vec<u32>,
}

impl Positions {
    /// Those of a mask over the weight.
    pub(super) fn new(taps: &Taps, channels_out: usize, group_out: usize, wanted: &Mask) -> Self {
        let mut found = Self { starts: vec![0; channels_out + 1], ..Self::default() };
        for weight in wanted.kept() {
            let (out, tap) = (weight / taps.offsets.len(), weight % taps.offsets.len());
            let group = signed(out / group_out * taps.group_step);
            found.offsets.push(offset(taps.offsets[tap] as isize + group));
            found.indices.push(index(weight));
            found.starts[out + 1] += 1;
        }
        for out in 0..channels_out {
            found.starts[out + 1] += found.starts[out];
        }
        found
    }

    /// Number of positions.
    pub(super) fn len(&self) -> usize {
        self.indices.len()
    }
}

/// Places of the input pixels that the weights of an output channel read, in the order of the weight.
#[derive(Clone, Debug)]
pub(super) struct Taps {
    /// In floats, for the first group.
    pub(super) offsets: Vec<i32>,
    /// From one group to the next, in floats.
    pub(super) group_step: usize,
}

impl Taps {
    pub(super) fn new(forward: &Gather) -> Self {
        let offsets = (0..forward.group_src)
            .flat_map(|channel| forward.taps(0).iter().map(move |tap| (channel, tap)))
            .map(|(channel, tap)| forward.offset(tap, channel))
            .collect();
        Self { offsets, group_step: forward.group_src * forward.packed_width * LANES }
    }
}

/// A band of output rows with the input rows that it reads and its gradient.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) forward: &'a Gather,
    pub(super) input: &'a Packed<'a>,
    pub(super) grad: &'a Packed<'a>,
    /// Columns of a packed row of the gradient.
    pub(super) grad_width: usize,
    /// Whether nothing has been summed yet: sums are put in their places instead of added to what is there.
    pub(super) is_first: bool,
}

impl Pair<'_> {
    /// Adds the gradient of every weight to `sums`.
    ///
    /// # Safety
    /// The instructions of `S` must be available, and both sides must hold the rows of `band`.
    #[inline(always)]
    pub(super) unsafe fn add_all<S: Simd>(
        &self,
        taps: &Taps,
        band: &Range<usize>,
        sums: &mut [f32],
    ) {
        let (gather, n) = (self.forward, taps.offsets.len());
        assert_eq!(sums.len(), gather.dst_channels() * n, "one sum a weight");
        for group in 0..gather.groups {
            let step = group * taps.group_step;
            let (mut out, end) = (group * gather.group_dst, (group + 1) * gather.group_dst);
            while out < end {
                let (o, sums) = (end - out, &mut sums[out * n..]);
                // SAFETY: as the caller vouches; the channels are the group's.
                out += unsafe {
                    match o {
                        4.. if S::ACCUMULATORS >= 24 => {
                            self.channels::<S, 4>(taps, step, band, out, sums)
                        }
                        2.. => self.channels::<S, 2>(taps, step, band, out, sums),
                        _ => self.channels::<S, 1>(taps, step, band, out, sums),
                    }
                };
            }
        }
    }

    /// Adds the gradient of the weights at `positions` to `sums`, one for each.
    ///
    /// # Safety
    /// As [`add_all`](Self::add_all).
    #[inline(always)]
    pub(super) unsafe fn add_at<S: Simd>(
        &self,
        positions: &Positions,
        band: &Range<usize>,
        sums: &mut [f32],
    ) {
        assert_eq!(sums.len(), positions.len(), "one sum a position");
        for (out, ends) in positions.starts.windows(2).enumerate() {
            let (mut at, end) = (ends[0] as usize, ends[1] as usize);
            while at < end {
                let (offsets, sums) = (&positions.offsets[at..end], &mut sums[at..end]);
                // SAFETY: as the caller vouches.
                at += unsafe {
                    match end - at {
                        8.. => self.tile::<S, 1, 8>(offsets, 0, band, out, sums, 0),
                        4.. => self.tile::<S, 1, 4>(offsets, 0, band, out, sums, 0),
                        2.. => self.tile::<S, 1, 2>(offsets, 0, band, out, sums, 0),
                        _ => self.tile::<S, 1, 1>(offsets, 0, band, out, sums, 0),
                    }
                };
            }
        }
    }

    /// Adds the sums of each output channel over the columns `band`, for the gradient of the bias. Inlined, so that it is
    /// compiled for the instruction set of its caller.
    #[inline(always)]
    pub(super) fn add_bias(&self, band: &Range<usize>, sums: &mut [f32]) {
        for (out, sum) in sums.iter_mut().enumerate() {
            let mut lanes = [0.0f32; LANES];
            for y in band.clone() {
                let at = self.grad.place(signed(y)) as usize + out * self.grad_width;
                for pixel in &self.grad.pixels()[at..at + self.forward.dst.1] {
                    for (lane, value) in lanes.iter_mut().zip(pixel.0) {
                        *lane += value;
                    }
                }
            }
            *sum += halves(&Lanes(lanes));
        }
    }

    /// `O` output channels with all their weights; gives `O`.
    #[inline(always)]
    unsafe fn channels<S: Simd, const O: usize>(
        &self,
        taps: &Taps,
        group_step: usize,
        band: &Range<usize>,
        out: usize,
        sums: &mut [f32],
    ) -> usize {
        let (mut at, n) = (0, taps.offsets.len());
        while at < n {
            let (offsets, sums) = (&taps.offsets[at..], &mut sums[at..]);
            // SAFETY: as the caller vouches.
            at += unsafe {
                match n - at {
                    6.. => self.tile::<S, O, 6>(offsets, group_step, band, out, sums, n),
                    3.. => self.tile::<S, O, 3>(offsets, group_step, band, out, sums, n),
                    2.. => self.tile::<S, O, 2>(offsets, group_step, band, out, sums, n),
                    _ => self.tile::<S, O, 1>(offsets, group_step, band, out, sums, n),
                }
            };
        }
        O
    }

    /// `O` output channels and `T` places of the input; gives `T`. The sums of the next channel are `sums_step` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const O: usize, const T: usize>(
        &self,
        offsets: &[i32],
        group_step: usize,
        band: &Range<usize>,
        out: usize,
        sums: &mut [f32],
        sums_step: usize,
    ) -> usize {
        let tile = WeightTile::<O, T> { pair: *self, offsets, group_step, band: band.clone(), out };
        // SAFETY: as the caller vouches.
        let totals = unsafe { S::call(tile) };
        // SAFETY: as the caller vouches.
        unsafe { add_sums::<S, T>(&totals, sums, sums_step, self.is_first) };
        T
    }
}

/// `O` output channels and `T` places of the input.
struct WeightTile<'a, const O: usize, const T: usize> {
    pair: Pair<'a>,
    offsets: &'a [i32],
    group_step: usize,
    band: Range<usize>,
    out: usize,
}

impl<const O: usize, const T: usize> Kernel for WeightTile<'_, O, T> {
    type Out = [[Lanes; T]; O];

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [[Lanes; T]; O] {
        let mut totals = [[Lanes::ZERO; T]; O];
        let step = self.pair.forward.src_step * LANES;
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: as the caller vouches. A constant step is folded into the addresses.
            unsafe {
                let acc = if step == LANES {
                    self.lanes::<S>(part, LANES)
                } else {
                    self.lanes::<S>(part, step)
                };
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

impl<const O: usize, const T: usize> WeightTile<'_, O, T> {
    /// The sums lane by lane, for the vector of lanes from `part` on.
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, part: usize, step: usize) -> [[S::V; T]; O] {
        let Pair { forward, input, grad, grad_width, .. } = self.pair;
        let channel_step = grad_width * LANES;
        // SAFETY: offsets and channels bring each pointer into the packed rows, as the caller vouches.
        unsafe {
            let mut acc = [[S::splat(0.0); T]; O];
            for y in self.band.clone() {
                let row =
                    input.pixels().as_ptr().cast::<f32>().wrapping_add(self.group_step + part);
                let row = row.wrapping_offset(input.place(forward.src_row(y)) * signed(LANES));
                let from: [*const f32; T] =
                    std::array::from_fn(|t| row.wrapping_offset(self.offsets[t] as isize));
                let place = grad.place(signed(y)) as usize + self.out * grad_width;
                let grad = grad.pixels().as_ptr().cast::<f32>().add(place * LANES + part);
                for x in 0..forward.dst.1 {
                    let mut grads = [S::splat(0.0); O];
                    for (o, to) in grads.iter_mut().enumerate() {
                        *to = S::load(grad.add(o * channel_step + x * LANES));
                    }
                    for t in 0..T {
                        let pixel = S::load(from[t].add(x * step));
                        for o in 0..O {
                            acc[o][t] = S::fma(grads[o], pixel, acc[o][t]);
                        }
                    }
                }
            }
            acc
        }
    }
}
