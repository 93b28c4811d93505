//! The tasks of a thread: some images of the output, or the backward pass of a block.

use super::{
    BlockedConv, PackedWeights,
    arena::{Arena, Pack, Parts, Side, clear_gaps},
    finish::{Finishing, StoreGrad, StoreOutput},
    grads::GradPart,
    weight_grad::{AddAll, AddAt, Pair, Positions},
    whole_grad::WholeGrad,
    winograd::{TileGrid, points::ImagePlanes, weight_grad::BlockPoints},
};
use crate::{
    buffer::Buffer,
    fused::{GradSource, GradSum, GradSums, MomentSums, Moments, Source},
    lanes::{LANES, Lanes},
    simd::{Ahead, Kernel, Simd, Variant, halves, launch},
};

/// Some images of the output.
pub(super) struct Forward<'a> {
    pub(super) conv: &'a BlockedConv,
    pub(super) weights: &'a PackedWeights,
    pub(super) source: Source<'a>,
    pub(super) bias: Option<&'a [f32]>,
    /// The part of the output.
    pub(super) part: usize,
    pub(super) out: &'a mut [Lanes],
    pub(super) wants_moments: bool,
}

impl Forward<'_> {
    /// Returns the moments of each channel, or nothing.
    pub(super) fn run(self, variant: Variant) -> Vec<Moments> {
        let Self { conv, weights, source, bias, part, out, wants_moments } = self;
        let (kernels, geometry) = (&weights.kernels, &conv.geometry);
        let places = &kernels.places;
        let from = Side::input(geometry, &conv.input, places.sources);
        let to = Side::output(geometry, &conv.output, places.results);
        let n_moments = if wants_moments { conv.output.channels } else { 0 };
        let mut moments = vec![MomentSums::NONE; n_moments];
        let units = conv.units(part);
        let stored = |side: &Side| side.stored(units.start).start;
        let (first, first_in) = (stored(&to), stored(&from));
        let (masks, in_masks) = (conv.output.pixels(first), conv.input.pixels(first_in));
        let at_a_time = kernels.units().min(units.len());
        let unit_len = places.len;
        let mut arena = Arena::take(at_a_time * unit_len);
        let Parts { memory, channel, of_planes, .. } = arena.parts();
        let memory = &mut memory[..at_a_time * unit_len];
        for memory in memory.chunks_exact_mut(unit_len) {
            clear_gaps(places.sources, &mut memory[..places.first_result]);
            memory[places.zero..].fill(0.0);
        }
        for first_unit in units.clone().step_by(at_a_time.max(1)) {
            let n_units = at_a_time.min(units.end - first_unit);
            let memory = &mut memory[..n_units * unit_len];
            for (unit, memory) in (first_unit..).zip(memory.chunks_exact_mut(unit_len)) {
                let planes = &mut memory[..places.first_result];
                let pixels = in_masks.as_deref();
                let pack =
                    Pack { source, side: from, unit, pixels, planes, channel: &mut *channel };
                launch(variant, pack);
            }
            let mut next = Vec::new();
            for unit in first_unit + n_units..(first_unit + 2 * n_units).min(units.end) {
                source.read(&conv.input, from.stored(unit), &mut next);
            }
            let mut ahead = Ahead::new(next, n_units * kernels.steps());
            kernels.run(memory, unit_len, of_planes, &mut ahead);
            for (unit, memory) in (first_unit..).zip(memory.chunks_exact(unit_len)) {
                let store = StoreOutput {
                    side: to,
                    unit,
                    planes: &memory[places.first_result..],
                    channel: &mut *channel,
                    bias,
                    pixels: masks.as_deref(),
                    moments: &mut moments,
                    out: &mut *out,
                    first,
                };
                launch(variant, store);
            }
        }
        arena.put_back();
        moments.into_iter().map(MomentSums::moments).collect()
    }
}

/// The contribution of a block to sums over the batch.
pub(super) struct BlockSums {
    /// Sums of each weight's gradient, by output channel and shift, or none.
    pub(super) all: Buffer<f32>,
    /// Sums of the gradient of each position, or none.
    pub(super) at: Vec<f32>,
    /// Sums of the gradient of each output channel, or none.
    pub(super) bias: Vec<f32>,
    /// Sums of the gradient of each input channel, or none.
    pub(super) finish: Vec<GradSums>,
}

/// The weights with a gradient that a block sums.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    Nothing,
    All,
    At(&'a Positions),
}

/// How the gradient of the whole weight is summed.
enum WholeSums<'a> {
    /// Over lanes, pixel by pixel.
    Sums,
    /// As matrix products.
    Products(WholeGrad<'a>),
    /// With [`winograd`](super::winograd).
    Points(BlockPoints<'a>),
}

/// A block of the input's gradient.
pub(super) struct ToInput<'a> {
    pub(super) weights: &'a PackedWeights,
    pub(super) finish: Option<Finishing<'a>>,
    /// The channels, one part after another.
    pub(super) parts: Vec<GradPart<'a>>,
}

/// The backward pass of a block of sixteen images.
pub(super) struct Backward<'a> {
    pub(super) conv: &'a BlockedConv,
    pub(super) source: Source<'a>,
    pub(super) grad: GradSource<'a>,
    pub(super) block: usize,
    pub(super) to_input: Option<ToInput<'a>>,
    pub(super) weights: Wanted<'a>,
    pub(super) has_bias: bool,
}

impl Backward<'_> {
    pub(super) fn run(self, variant: Variant) -> BlockSums {
        let Self { conv, source, grad, block, mut to_input, weights, has_bias } = self;
        let (geometry, reads, places) = (&conv.geometry, &conv.reads, &conv.transposed);
        let (channels_in, channels_out) = (conv.input.channels, conv.output.channels);
        let mut sums = BlockSums {
            all: Buffer::any(if matches!(weights, Wanted::All) { conv.n_sums() } else { 0 }),
            at: vec![0.0; if let Wanted::At(positions) = weights { positions.len() } else { 0 }],
            bias: vec![0.0; if has_bias { channels_out } else { 0 }],
            finish: Vec::new(),
        };
        let has_finish = to_input.as_ref().is_some_and(|to| to.finish.is_some());
        let mut finish = vec![GradSum::NONE; if has_finish { channels_in } else { 0 }];
        let reads_input = !matches!(weights, Wanted::Nothing);
        let input_slots = conv.forward.sources;
        let input_len = if reads_input { conv.forward.first_result } else { 0 };
        let unit_len = input_len + places.len;
        let input = Side::input(geometry, &conv.input, input_slots);
        let output = Side::output(geometry, &conv.output, places.sources);
        let to = Side::input(geometry, &conv.input, places.results);
        let units = conv.block_units(block);
        let stored = |side: &Side| side.stored(units.start).start;
        let (first, first_out) = (stored(&to), stored(&output));
        let (masks, out_masks) = (conv.input.pixels(first), conv.output.pixels(first_out));
        let wants_all = matches!(weights, Wanted::All);
        let filters = wants_all && conv.is_winograd;
        let mixes = wants_all && !filters && conv.is_mixing;
        // The units that one chain of sums covers; products of matrices take one unit at a time.
        let of_sums = match filters || mixes {
            true => 1,
            false => reads.units(geometry.grid.has_images_in_lanes),
        };
        let of_planes = to_input.as_ref().map_or(1, |to| to.weights.kernels.units());
        // Chains begin at the same units, however many units the kernels take.
        let at_a_time = of_planes.next_multiple_of(of_sums).min(units.len());
        let mut arena = Arena::take(at_a_time * unit_len);
        let Parts { memory, channel, of_weight, of_planes } = arena.parts();
        let memory = &mut memory[..at_a_time * unit_len];
        for unit in memory.chunks_exact_mut(unit_len) {
            let (input, grad) = unit.split_at_mut(input_len);
            clear_gaps(input_slots, input);
            clear_gaps(places.sources, &mut grad[..places.first_result]);
            grad[places.zero..].fill(0.0);
        }
        let mut is_first = true;
        let mut whole = if filters {
            let tiles = TileGrid::new(&conv.shape);
            WholeSums::Points(BlockPoints::new(tiles, channels_in, channels_out, of_weight))
        } else if mixes {
            WholeSums::Products(WholeGrad::new(geometry, [input_slots, places.sources], of_weight))
        } else {
            WholeSums::Sums
        };
        for first_unit in units.clone().step_by(at_a_time.max(1)) {
            let n_units = at_a_time.min(units.end - first_unit);
            for (i, unit) in memory.chunks_exact_mut(unit_len).take(n_units).enumerate() {
                let (in_planes, rest) = unit.split_at_mut(input_len);
                let planes = &mut rest[..places.first_result];
                let (unit, pixels) = (first_unit + i, out_masks.as_deref());
                let channel = &mut *channel;
                launch(variant, Pack { source: grad, side: output, unit, pixels, planes, channel });
                if has_bias {
                    let slots = places.sources;
                    let of =
                        SumPlanes { planes, len: slots.len, first: slots.above, body: slots.body };
                    launch(variant, AddPlanes { of, sums: &mut sums.bias });
                }
                if reads_input {
                    let (planes, pixels) = (in_planes, masks.as_deref());
                    launch(variant, Pack { source, side: input, unit, pixels, planes, channel });
                }
            }
            let chains = memory[..n_units * unit_len].chunks(of_sums * unit_len).enumerate();
            let chains = chains.map(|(i, arena)| Pair {
                reads,
                arena,
                unit: unit_len,
                n_units: arena.len() / unit_len,
                grad: input_len,
                grad_slots: places.sources,
                channels_out,
                group_out: geometry.shape.group_out(),
                is_first: is_first && i == 0,
            });
            let mut next = Vec::new();
            let mut steps = 0;
            if let Some(to_input) = &to_input {
                steps += n_units * to_input.weights.kernels.steps();
            }
            if let Wanted::At(positions) = weights {
                steps += chains.clone().map(|pair| pair.steps(positions)).sum::<usize>();
            }
            for unit in first_unit + at_a_time..(first_unit + 2 * at_a_time).min(units.end) {
                let finish = to_input.as_ref().and_then(|to| to.finish);
                if let Some(Finishing { pass, x, .. }) = finish {
                    x.stretches(&conv.input, to.stored(unit), &mut next);
                    pass.read(&conv.input, to.stored(unit), &mut next);
                }
                for part in to_input.iter().flat_map(|to| &to.parts).filter(|part| part.is_added) {
                    let stored = to.stored(unit);
                    let of_unit = part.channels * to.vectors;
                    let at = stored.start.saturating_sub(first) * of_unit
                        ..stored.end.saturating_sub(first) * of_unit;
                    next.extend(part.out.get(at).map(<[Lanes]>::as_ptr_range));
                }
                if reads_input {
                    source.read(&conv.input, input.stored(unit), &mut next);
                }
                grad.read(&conv.output, output.stored(unit), &mut next);
            }
            let mut ahead = Ahead::new(next, steps);
            match weights {
                Wanted::Nothing => {}
                Wanted::All => {
                    let units = memory.chunks_exact(unit_len).take(n_units);
                    let sides = units.map(|unit| unit.split_at(input_len));
                    match &mut whole {
                        WholeSums::Sums => chains
                            .for_each(|pair| launch(variant, AddAll { pair, sums: &mut sums.all })),
                        WholeSums::Products(of) => sides.for_each(|(input, grad)| {
                            of.add(variant, input, &grad[..places.first_result]);
                        }),
                        WholeSums::Points(of) => sides.for_each(|(input, grad)| {
                            let pitch = geometry.grid.pitch;
                            let grad = &grad[..places.first_result];
                            let of_planes = |planes, slots, channels| ImagePlanes {
                                planes,
                                slots,
                                pitch,
                                channels,
                            };
                            let input = of_planes(input, input_slots, channels_in);
                            of.add(variant, input, of_planes(grad, places.sources, channels_out));
                        }),
                    }
                }
                Wanted::At(positions) => {
                    chains.for_each(|pair| {
                        let (sums, ahead) = (&mut sums.at[..], &mut ahead);
                        launch(variant, AddAt { pair, positions, sums, ahead });
                    });
                }
            }
            is_first = false;
            let Some(to_input) = &mut to_input else { continue };
            let kernels = &to_input.weights.kernels;
            let memory = &mut memory[..n_units * unit_len];
            kernels.run(&mut memory[input_len..], unit_len, of_planes, &mut ahead);
            for (i, unit) in memory.chunks_exact(unit_len).enumerate() {
                let store = StoreGrad {
                    side: to,
                    unit: first_unit + i,
                    planes: &unit[input_len + places.first_result..],
                    channel: &mut *channel,
                    finish: to_input.finish,
                    sums: &mut finish,
                    parts: &mut to_input.parts,
                    first,
                };
                launch(variant, store);
            }
        }
        match whole {
            WholeSums::Sums => {}
            WholeSums::Points(of) => of.finish(variant, &mut sums.all),
            WholeSums::Products(of) => of.finish(&mut sums.all),
        }
        arena.put_back();
        sums.finish = finish.into_iter().map(GradSum::sums).collect();
        sums
    }
}

/// Planes, one after another.
struct SumPlanes<'a> {
    planes: &'a [f32],
    /// Floats from one to the next.
    len: usize,
    /// Where a plane begins, and its floats.
    first: usize,
    body: usize,
}

/// Adds the sum of each plane to one of `sums`.
struct AddPlanes<'a> {
    of: SumPlanes<'a>,
    sums: &'a mut [f32],
}

impl Kernel for AddPlanes<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let SumPlanes { planes, len, first, body } = self.of;
        for (plane, sum) in planes.chunks_exact(len).zip(self.sums) {
            let from = plane[first..first + body].as_ptr();
            let mut lanes = Lanes::ZERO;
            for part in (0..LANES).step_by(S::WIDTH) {
                // SAFETY: the plane is whole vectors; the caller guarantees the instruction set.
                unsafe {
                    let mut total = S::splat(0.0);
                    for i in (part..body).step_by(LANES) {
                        total = S::add(total, S::load(from.add(i)));
                    }
                    S::store(lanes.0.as_mut_ptr().add(part), total);
                }
            }
            *sum += halves(&lanes);
        }
    }
}
