//! The memory of a thread that convolutions read and write: planes of one image, or of sixteen that share vectors.

use super::geometry::{Geometry, Grid, Slots};
use crate::{
    fused::Rows,
    lanes::{LANES, Lanes, Plane, floats, floats_mut},
    simd::{Kernel, Simd},
};
use std::cell::RefCell;

/// Memory that a thread uses for one task after the other.
#[derive(Default)]
pub(super) struct Arena {
    memory: Vec<Lanes>,
    /// A channel on its way between a plane and the arena.
    pub(super) channel: Vec<Lanes>,
    /// Points of input and gradient.
    pub(super) points: [Vec<Lanes>; 3],
}

thread_local! {
    static ARENA: RefCell<Arena> = RefCell::default();
}

impl Arena {
    /// The thread's arena, with room for so many floats.
    pub(super) fn take(len: usize) -> Self {
        let mut arena = ARENA.take();
        let n = len.div_ceil(LANES);
        if arena.memory.len() < n {
            arena.memory.resize(n, Lanes::ZERO);
        }
        arena
    }

    pub(super) fn put_back(self) {
        ARENA.set(self);
    }

    /// All of it, and the memory of a channel.
    pub(super) fn parts(&mut self) -> (&mut [f32], &mut Vec<Lanes>) {
        (floats_mut(&mut self.memory), &mut self.channel)
    }
}

/// Zeroes what lies around planes.
pub(super) fn clear_gaps(slots: Slots, planes: &mut [f32]) {
    for slot in planes.chunks_exact_mut(slots.len) {
        slot[..slots.above].fill(0.0);
        slot[slots.above + slots.body..].fill(0.0);
    }
}

/// Keeps the lanes that hold pixels.
///
/// # Safety
/// The instructions of `S` must be available.
#[inline(always)]
pub(super) unsafe fn keep<S: Simd>(pixels: &[Lanes], lanes: &mut [Lanes]) {
    let n = pixels.len().min(lanes.len()) * LANES;
    let (mask, to) = (pixels.as_ptr().cast::<f32>(), lanes.as_mut_ptr().cast::<f32>());
    for i in (0..n).step_by(S::WIDTH) {
        // SAFETY: both have `n` floats.
        unsafe { S::store(to.add(i), S::and(S::load(to.add(i)), S::load(mask.add(i)))) };
    }
}

/// An activation and where its planes go: the input, in phases, or the output's gradient.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) plane: &'a Plane,
    pub(super) grid: Grid,
    pub(super) slots: Slots,
    /// Of the phases.
    pub(super) stride: usize,
}

impl<'a> Side<'a> {
    /// The input.
    pub(super) fn input(geometry: &Geometry, plane: &'a Plane, slots: Slots) -> Self {
        Self { plane, grid: geometry.grid, slots, stride: geometry.shape.stride }
    }

    /// The output.
    pub(super) fn output(geometry: &Geometry, plane: &'a Plane, slots: Slots) -> Self {
        Self { plane, grid: geometry.grid, slots, stride: 1 }
    }

    /// Whether a channel lies in the arena as it is stored.
    pub(super) fn is_stored_alike(&self) -> bool {
        let plane = self.plane;
        let pitch = match plane.has_images_in_lanes() {
            true => plane.width * LANES,
            false => plane.pitch(),
        };
        self.stride == 1
            && plane.has_images_in_lanes() == self.grid.has_images_in_lanes
            && pitch == self.grid.pitch
    }

    /// Images of the arena's planes.
    pub(super) fn images(&self) -> usize {
        if self.grid.has_images_in_lanes { LANES } else { 1 }
    }

    /// Stored units of a unit of the arena.
    pub(super) fn stored(&self, unit: usize) -> std::ops::Range<usize> {
        let each = self.images() / self.plane.together();
        unit * each..((unit + 1) * each).min(self.plane.units())
    }

    /// Copies a channel of a stored unit to its planes, phase by phase.
    fn scatter(&self, channel: &[Lanes], lane: usize, c: usize, planes: &mut [f32]) {
        let Self { plane, grid, slots, stride: s } = *self;
        let Plane { channels, height, width, .. } = *plane;
        for phase in 0..s * s {
            let begin = (phase * channels + c) * slots.len + slots.above;
            let to = &mut planes[begin..begin + slots.body];
            let (py, px) = (phase / s, phase % s);
            let rows = (py..height).step_by(s).zip(to.chunks_mut(grid.pitch));
            for (y, to) in rows {
                let columns = (px..width).step_by(s);
                match (plane.has_images_in_lanes(), grid.has_images_in_lanes) {
                    (true, _) => {
                        let to = to.chunks_exact_mut(LANES);
                        for (x, to) in columns.zip(to) {
                            to.copy_from_slice(&channel[y * width + x].0);
                        }
                    }
                    (false, true) => {
                        let row = &floats(channel)[y * plane.pitch()..][..width];
                        for (x, to) in columns.zip(to.chunks_exact_mut(LANES)) {
                            to[lane] = row[x];
                        }
                    }
                    (false, false) => {
                        let row = &floats(channel)[y * plane.pitch()..][..width];
                        columns.zip(to).for_each(|(x, to)| *to = row[x]);
                    }
                }
            }
        }
    }

    /// Copies a channel from its planes, phase by phase, to a stored unit.
    fn gather(&self, planes: &[f32], lane: usize, c: usize, channel: &mut [Lanes]) {
        let Self { plane, grid, slots, stride: s } = *self;
        let Plane { channels, height, width, .. } = *plane;
        for phase in 0..s * s {
            let begin = (phase * channels + c) * slots.len + slots.above;
            let from = &planes[begin..begin + slots.body];
            let (py, px) = (phase / s, phase % s);
            for (y, from) in (py..height).step_by(s).zip(from.chunks(grid.pitch)) {
                let columns = (px..width).step_by(s);
                match (plane.has_images_in_lanes(), grid.has_images_in_lanes) {
                    (true, _) => {
                        for (x, from) in columns.zip(from.chunks_exact(LANES)) {
                            channel[y * width + x].0.copy_from_slice(from);
                        }
                    }
                    (false, true) => {
                        let row = &mut floats_mut(channel)[y * plane.pitch()..][..width];
                        for (x, from) in columns.zip(from.chunks_exact(LANES)) {
                            row[x] = from[lane];
                        }
                    }
                    (false, false) => {
                        let row = &mut floats_mut(channel)[y * plane.pitch()..][..width];
                        columns.zip(from).for_each(|(x, from)| row[x] = *from);
                    }
                }
            }
        }
    }

    /// The channel of a stored unit, from its planes.
    pub(super) fn channel<'b>(
        &self,
        planes: &'b [f32],
        lane: usize,
        c: usize,
        memory: &'b mut Vec<Lanes>,
    ) -> &'b [Lanes] {
        let n = self.plane.vectors();
        if self.is_stored_alike() {
            let begin = c * self.slots.len + self.slots.above;
            return lanes(&planes[begin..begin + n * LANES]);
        }
        memory.clear();
        memory.resize(n, Lanes::ZERO);
        self.gather(planes, lane, c, memory);
        memory
    }
}

/// Floats as vectors; they must begin where one does.
pub(super) fn lanes(floats: &[f32]) -> &[Lanes] {
    assert!(floats.as_ptr().cast::<Lanes>().is_aligned(), "vectors begin at multiples of 64 bytes");
    // SAFETY: the alignment was asserted, and `Lanes` is sixteen floats.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), floats.len() / LANES) }
}

/// Floats as vectors; they must begin where one does.
pub(super) fn lanes_mut(floats: &mut [f32]) -> &mut [Lanes] {
    assert!(floats.as_ptr().cast::<Lanes>().is_aligned(), "vectors begin at multiples of 64 bytes");
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), floats.len() / LANES) }
}

/// Packs all channels of a unit.
pub(super) struct Pack<'a, R> {
    pub(super) source: R,
    pub(super) side: Side<'a>,
    /// The unit of the arena.
    pub(super) unit: usize,
    /// Lanes of a channel that hold pixels, if not all do.
    pub(super) pixels: Option<&'a [Lanes]>,
    pub(super) planes: &'a mut [f32],
    pub(super) channel: &'a mut Vec<Lanes>,
}

impl<R: Rows> Kernel for Pack<'_, R> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { source, side, unit, pixels, planes, channel } = self;
        let (plane, slots) = (side.plane, side.slots);
        let (n, len) = (plane.vectors(), plane.unit());
        if side.is_stored_alike() {
            for c in 0..plane.channels {
                let begin = c * slots.len + slots.above;
                let to = lanes_mut(&mut planes[begin..begin + n * LANES]);
                // SAFETY: the channel lies within the activation; the caller vouches for the instructions.
                unsafe {
                    source.fill::<S>(unit * len + c * n, c, to);
                    if let Some(pixels) = pixels {
                        keep::<S>(pixels, to);
                    }
                }
            }
            return;
        }
        channel.clear();
        channel.resize(n, Lanes::ZERO);
        // Between pixels there are zeros, and lanes without an image hold them.
        planes.fill(0.0);
        for (lane, stored) in side.stored(unit).enumerate() {
            for c in 0..plane.channels {
                // SAFETY: as above.
                unsafe {
                    source.fill::<S>(stored * len + c * n, c, channel);
                    if let Some(pixels) = pixels {
                        keep::<S>(pixels, channel);
                    }
                }
                side.scatter(channel, lane, c, planes);
            }
        }
    }
}
