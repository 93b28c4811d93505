//! The gradient of the whole weight of a convolution that mixes channels: one matrix product for each position of the
//! kernel. Channels are in the SIMD lanes, so nothing is summed over lanes.
//!
//! Each weight sums over the pixels of a block of images, in their order.

use super::super::ConvShape;
use super::{
    arena::{Turned, make_room, turn_channels},
    geometry::{Geometry, Slots},
    product::Product,
};
use crate::{
    lanes::{LANES, Lanes, floats},
    simd::{Kernel, Simd, Variant, launch},
    sizes::signed,
};

/// Whether the gradient of the whole weight is computed this way.
pub(super) fn fits(geometry: &Geometry) -> bool {
    let ConvShape { groups, channels_in, channels_out, height, .. } = geometry.shape;
    groups == 1 && channels_out >= 8 && channels_in > 0 && height > 0
}

/// Sums of a block of images.
pub(super) struct WholeGrad<'a> {
    geometry: &'a Geometry,
    /// Places of the planes of input and gradient.
    slots: [Slots; 2],
    /// Input and gradient with channels in the lanes, `[phase, sixteen channels, place]`; sums, `[position, output
    /// channel, sixteen input channels]`.
    memory: &'a mut Turned,
}

impl<'a> WholeGrad<'a> {
    /// Sums of no image.
    pub(super) fn new(geometry: &'a Geometry, slots: [Slots; 2], memory: &'a mut Turned) -> Self {
        let shape = &geometry.shape;
        let [inp, out] = [shape.channels_in, shape.channels_out].map(|n| n.div_ceil(LANES));
        let lens = [geometry.n_phases() * inp * slots[0].body, out * slots[1].body];
        memory.iter_mut().zip(lens).for_each(|(memory, len)| make_room(memory, len));
        memory[2].clear();
        memory[2].resize(geometry.taps.len() * out * LANES * inp, Lanes::ZERO);
        Self { geometry, slots, memory }
    }

    /// Adds a unit, read from its planes.
    pub(super) fn add(&mut self, variant: Variant, input: &[f32], grad: &[f32]) {
        let Self { geometry, slots, memory } = self;
        let shape = &geometry.shape;
        let [of_input, of_grad, sums, _] = &mut **memory;
        let groups = [shape.channels_in, shape.channels_out].map(|n| n.div_ceil(LANES));
        for phase in 0..geometry.n_phases() {
            let (slots, channels) = (slots[0], shape.channels_in);
            let planes = &input[phase * channels * slots.len..];
            let len = groups[0] * slots.body;
            let to = &mut of_input[phase * len..][..len];
            launch(variant, Turn { planes, slots, channels, to });
        }
        let (planes, channels) = (grad, shape.channels_out);
        launch(variant, Turn { planes, slots: slots[1], channels, to: of_grad });
        let bodies = slots.map(|slots| slots.body);
        launch(
            variant,
            Multiply { geometry, groups, bodies, input: of_input, grad: of_grad, sums },
        );
    }

    /// Writes the gradient of each weight.
    pub(super) fn finish(self, grad: &mut [f32]) {
        let shape = &self.geometry.shape;
        let positions = self.geometry.taps.len();
        let groups = shape.channels_in.div_ceil(LANES);
        let rows = shape.channels_out.next_multiple_of(LANES);
        let sums = &self.memory[2];
        for (row, grad) in grad.chunks_exact_mut(shape.channels_in * positions).enumerate() {
            if positions == 1 {
                grad.copy_from_slice(&floats(&sums[row * groups..][..groups])[..shape.channels_in]);
                continue;
            }
            for position in 0..positions {
                let from = &sums[(position * rows + row) * groups..][..groups];
                let from = from.iter().flat_map(|lanes| lanes.0);
                for (grad, sum) in grad[position..].iter_mut().step_by(positions).zip(from) {
                    *grad = sum;
                }
            }
        }
    }
}

/// Moves channels into the lanes.
struct Turn<'a> {
    planes: &'a [f32],
    slots: Slots,
    channels: usize,
    /// `[sixteen channels, place]`.
    to: &'a mut [Lanes],
}

impl Kernel for Turn<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { planes, slots, channels, to } = self;
        for (group, to) in
            to.chunks_exact_mut(slots.body).take(channels.div_ceil(LANES)).enumerate()
        {
            let begin = group * LANES * slots.len + slots.above;
            let filled = (channels - group * LANES).min(LANES);
            for (i, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let planes = &planes[begin + i * LANES..];
                // SAFETY: the caller guarantees the instruction set.
                unsafe { turn_channels::<S>(planes, slots.len, filled, to) };
            }
        }
    }
}

struct Multiply<'a> {
    geometry: &'a Geometry,
    groups: [usize; 2],
    bodies: [usize; 2],
    input: &'a [Lanes],
    grad: &'a [Lanes],
    sums: &'a mut [Lanes],
}

impl Kernel for Multiply<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { geometry, groups: [inp, out], bodies, input, grad, sums } = self;
        let (grid, rows) = (geometry.grid, out * LANES);
        assert!(
            input.len() >= geometry.n_phases() * inp * bodies[0] && grad.len() >= out * bodies[1]
        );
        assert_eq!(sums.len(), geometry.taps.len() * rows * inp, "a sum for each weight");
        for (position, tap) in geometry.taps.iter().enumerate() {
            let Some(tap) = tap else { continue };
            let (height, width) = geometry.phase(tap.phase);
            // The output pixels that read a pixel.
            let ys = (-tap.row).max(0)..signed(geometry.out.0).min(signed(height) - tap.row);
            let xs = (-tap.col).max(0)..signed(geometry.out.1).min(signed(width) - tap.col);
            if ys.is_empty() || xs.is_empty() {
                continue;
            }
            let (first_y, first_x) = (ys.start as usize, xs.start as usize);
            let distance = tap.row * signed(grid.pitch) + tap.col * signed(grid.step);
            let at = first_y * grid.pitch + first_x * grid.step;
            let from = at.wrapping_add_signed(distance);
            // Rows without a gap between them count as one row.
            let is_whole = xs.len() * grid.step == grid.pitch;
            let (n_rows, n) = match is_whole {
                true => (1, ys.len() * grid.pitch),
                false => (ys.len(), xs.len() * grid.step),
            };
            let last = (n_rows - 1) * grid.pitch + n;
            assert!(at + last <= bodies[1] && from + last <= bodies[0], "rows within their planes");
            let input = &input[tap.phase * inp * bodies[0]..];
            let to = sums[position * rows * inp..].as_mut_ptr().cast::<f32>();
            for row in (0..rows).step_by(8) {
                let numbers = grad[row / LANES * bodies[1] + at..].as_ptr().cast::<f32>();
                let numbers = numbers.wrapping_add(row % LANES);
                let mut group = 0;
                while group < inp {
                    let vectors = input[group * bodies[0] + from..].as_ptr().cast::<f32>();
                    let mut done = 1;
                    for y in 0..n_rows {
                        let product = Product {
                            numbers: numbers.wrapping_add(y * grid.pitch * LANES),
                            number_step: LANES,
                            next_number: 1,
                            vectors: vectors.wrapping_add(y * grid.pitch * LANES),
                            vector_step: LANES,
                            next_vector: bodies[0] * LANES,
                            n,
                        };
                        // SAFETY: the rows lie within both operands, as was asserted, and `sums` has a place for each
                        // pair.
                        unsafe {
                            let to = to.add((row * inp + group) * LANES);
                            done = product.tiles::<S>(inp - group, to, inp * LANES, LANES, true);
                        }
                    }
                    group += done;
                }
            }
        }
    }
}
