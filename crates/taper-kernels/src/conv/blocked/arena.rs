//! A thread's memory for convolutions: the planes of one image, or of sixteen images that share vectors.

use super::geometry::{Geometry, Grid, Slots};
use crate::{
    fused::ChannelSource,
    lanes::{ChannelOf, LANES, Lanes, Plane, floats, floats_mut, keep_pixels},
    simd::{Kernel, Simd},
};
use std::cell::RefCell;

/// Memory that a thread reuses for one task after another.
#[derive(Default)]
pub(super) struct Arena {
    memory: Vec<Lanes>,
    /// A channel during its copy between an activation and the arena.
    channel: Vec<Lanes>,
    /// For the gradient of the weight, and for planes that are written.
    points: [Turned; 2],
}

/// Memory with channels in the lanes: two operands, their products, and intermediate rows.
pub(super) type Turned = [Vec<Lanes>; 4];

/// The parts of an arena.
pub(super) struct Parts<'a> {
    pub(super) memory: &'a mut [f32],
    /// A channel during its copy between an activation and the arena.
    pub(super) channel: &'a mut Vec<Lanes>,
    /// For the gradient of the weight.
    pub(super) of_weight: &'a mut Turned,
    /// For planes that are written.
    pub(super) of_planes: &'a mut Turned,
}

thread_local! {
    static ARENA: RefCell<Arena> = RefCell::default();
}

impl Arena {
    /// The thread's arena, with room for `len` floats.
    pub(super) fn take(len: usize) -> Self {
        let mut arena = ARENA.take();
        make_room(&mut arena.memory, len.div_ceil(LANES));
        // A task must not depend on data of an earlier task.
        #[cfg(test)]
        [&mut arena.memory, &mut arena.channel]
            .into_iter()
            .chain(arena.points.iter_mut().flatten())
            .for_each(|memory| memory.fill(Lanes([f32::NAN; LANES])));
        arena
    }

    pub(super) fn put_back(self) {
        ARENA.set(self);
    }

    /// Its parts, which can be borrowed separately.
    pub(super) fn parts(&mut self) -> Parts<'_> {
        let Self { memory, channel, points: [of_weight, of_planes] } = self;
        Parts { memory: floats_mut(memory), channel, of_weight, of_planes }
    }
}

/// Makes room for `len` vectors.
pub(super) fn make_room(memory: &mut Vec<Lanes>, len: usize) {
    if memory.len() < len {
        memory.resize(len, Lanes::ZERO);
    }
}

/// Moves sixteen floats of `filled` channels into the lanes: a transpose. Channels are `step` floats apart; the lanes
/// of missing channels are 0.
///
/// # Safety
/// The instructions of `S` must be available.
#[inline(always)]
pub(super) unsafe fn turn_channels<S: Simd>(
    planes: &[f32],
    step: usize,
    filled: usize,
    to: &mut [Lanes; LANES],
) {
    if filled == LANES {
        assert!((LANES - 1) * step + LANES <= planes.len(), "sixteen floats of sixteen channels");
        // SAFETY: as was asserted; the caller guarantees the instruction set.
        return unsafe { S::transpose(planes.as_ptr(), step, to) };
    }
    to.fill(Lanes::ZERO);
    for channel in 0..filled {
        let from = &planes[channel * step..][..LANES];
        to.iter_mut().zip(from).for_each(|(to, &value)| to.0[channel] = value);
    }
}

/// Zeroes the memory around planes.
pub(super) fn clear_gaps(slots: Slots, planes: &mut [f32]) {
    for slot in planes.chunks_exact_mut(slots.len) {
        slot[..slots.above].fill(0.0);
        slot[slots.above + slots.body..].fill(0.0);
    }
}

/// An activation and the places of its planes: the input, split into phases, or the output's gradient.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) plane: &'a Plane,
    pub(super) grid: Grid,
    pub(super) slots: Slots,
    /// The stride of the phases.
    pub(super) stride: usize,
    /// One bit for each of the first sixty-four phases: 0 if no position of the kernel reads the phase.
    read: u64,
    /// Whether a channel lies in the arena as in the activation.
    is_stored_alike: bool,
    /// Whether lanes are pixels, and rows are split into even and odd columns without padding.
    is_halved: bool,
    /// Vectors of a stored channel, and of a stored unit.
    pub(super) vectors: usize,
    pub(super) unit: usize,
}

impl<'a> Side<'a> {
    /// The input.
    pub(super) fn input(geometry: &Geometry, plane: &'a Plane, slots: Slots) -> Self {
        let read = geometry.taps.iter().flatten().filter(|tap| tap.phase < 64);
        let read = read.fold(0, |read, tap| read | 1 << tap.phase);
        Self::new(geometry.grid, plane, slots, geometry.shape.stride, read)
    }

    /// The output.
    pub(super) fn output(geometry: &Geometry, plane: &'a Plane, slots: Slots) -> Self {
        Self::new(geometry.grid, plane, slots, 1, 1)
    }

    fn new(grid: Grid, plane: &'a Plane, slots: Slots, stride: usize, read: u64) -> Self {
        let pitch = match plane.has_images_in_lanes() {
            true => plane.width * LANES,
            false => plane.pitch(),
        };
        let is_alike = plane.has_images_in_lanes() == grid.has_images_in_lanes;
        let is_halved = stride == 2
            && is_alike
            && !grid.has_images_in_lanes
            && pitch == 2 * grid.pitch
            && plane.height.is_multiple_of(2);
        let is_stored_alike = stride == 1 && is_alike && pitch == grid.pitch;
        let (vectors, unit) = (plane.vectors(), plane.unit());
        Self { plane, grid, slots, stride, read, is_stored_alike, is_halved, vectors, unit }
    }

    fn is_read(&self, phase: usize) -> bool {
        phase >= 64 || self.read >> phase & 1 == 1
    }

    /// The stored units in a unit of the arena.
    pub(super) fn stored(&self, unit: usize) -> std::ops::Range<usize> {
        let each = self.grid.images() / self.plane.together();
        unit * each..((unit + 1) * each).min(self.plane.units())
    }

    /// A channel of a stored unit.
    pub(super) fn channel_of(&self, unit: usize, channel: usize) -> ChannelOf {
        ChannelOf { unit, channel, at: unit * self.unit + channel * self.vectors }
    }

    /// The plane of a phase of a channel, as a range of floats.
    fn place(&self, phase: usize, c: usize) -> std::ops::Range<usize> {
        let begin = (phase * self.plane.channels + c) * self.slots.len + self.slots.above;
        begin..begin + self.slots.body
    }

    /// [`scatter`](Self::scatter) for rows that are split into even and odd columns.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    unsafe fn split<S: Simd>(&self, channel: &[Lanes], c: usize, planes: &mut [f32]) {
        let (pitch, height) = (self.grid.pitch, self.plane.height);
        let from = &floats(channel)[..2 * pitch * height];
        for py in 0..2 {
            let [even, odd] = [0, 1].map(|px| self.place(2 * py + px, c).start);
            let n = pitch * height / 2;
            assert!(even.max(odd) + n <= planes.len());
            // The rest of the last vector.
            for first in [even, odd] {
                planes[first + n..first + self.slots.body].fill(0.0);
            }
            let to = planes.as_mut_ptr();
            // SAFETY: both begin within the planes, see above.
            let (even_to, odd_to) = unsafe { (to.add(even), to.add(odd)) };
            for r in 0..height / 2 {
                let row = &from[(2 * r + py) * 2 * pitch..][..2 * pitch];
                let mut x = 0;
                // SAFETY: the row has `2·pitch` floats, twice those of a row of each phase. Each phase has `height / 2`
                // rows, and the room for them was asserted.
                unsafe {
                    while x + S::WIDTH <= pitch {
                        let pair = row.as_ptr().add(2 * x);
                        let [e, o] = S::split(S::load(pair), S::load(pair.add(S::WIDTH)));
                        S::store(even_to.add(r * pitch + x), e);
                        S::store(odd_to.add(r * pitch + x), o);
                        x += S::WIDTH;
                    }
                    while x < pitch {
                        *even_to.add(r * pitch + x) = row[2 * x];
                        *odd_to.add(r * pitch + x) = row[2 * x + 1];
                        x += 1;
                    }
                }
            }
        }
    }

    /// [`gather`](Self::gather) for rows that are split into even and odd columns.
    #[inline(always)]
    fn join(&self, planes: &[f32], c: usize, channel: &mut [Lanes]) {
        let (pitch, height) = (self.grid.pitch, self.plane.height);
        let rows = floats_mut(channel)[..2 * pitch * height].chunks_exact_mut(4 * pitch);
        let begins: [usize; 4] = std::array::from_fn(|phase| self.place(phase, c).start);
        for (r, two) in rows.enumerate() {
            for (py, row) in two.chunks_exact_mut(2 * pitch).enumerate() {
                let [even, odd] =
                    [0, 1].map(|px| &planes[begins[2 * py + px] + r * pitch..][..pitch]);
                let pairs = row.as_chunks_mut::<2>().0.iter_mut();
                pairs.zip(even.iter().zip(odd)).for_each(|(pair, (&e, &o))| *pair = [e, o]);
            }
        }
    }

    /// Copies a channel of a stored unit to its planes, phase by phase.
    fn scatter(&self, channel: &[Lanes], c: usize, planes: &mut [f32]) {
        let Self { plane, grid, stride: s, .. } = *self;
        let Plane { height, width, .. } = *plane;
        for phase in 0..s * s {
            if !self.is_read(phase) {
                continue;
            }
            let to = &mut planes[self.place(phase, c)];
            let (py, px) = (phase / s, phase % s);
            let rows = (py..height).step_by(s);
            to[rows.len() * grid.pitch..].fill(0.0);
            for (y, to) in rows.zip(to.chunks_mut(grid.pitch)) {
                let columns = (px..width).step_by(s);
                let (to, beside) = to.split_at_mut(columns.len() * grid.step);
                beside.fill(0.0);
                if grid.has_images_in_lanes {
                    for (x, to) in columns.zip(to.chunks_exact_mut(LANES)) {
                        to.copy_from_slice(&channel[y * width + x].0);
                    }
                } else {
                    let row = &floats(channel)[y * plane.pitch()..][..width];
                    columns.zip(to).for_each(|(x, to)| *to = row[x]);
                }
            }
        }
    }

    /// Where the sixteen pixels of a stored vector lie in the planes of a channel, if planes have images in the lanes.
    /// `None` where there is no pixel, or where it is not read.
    fn turned(&self, vector: usize, c: usize) -> [Option<usize>; LANES] {
        let Self { plane, grid, stride: s, .. } = *self;
        let pitch = plane.pitch();
        std::array::from_fn(|i| {
            let (y, x) = ((vector * LANES + i) / pitch, (vector * LANES + i) % pitch);
            let phase = y % s * s + x % s;
            let is_there = y < plane.height && x < plane.width && self.is_read(phase);
            let at = || self.place(phase, c).start + y / s * grid.pitch + x / s * LANES;
            is_there.then(at)
        })
    }

    /// Copies a channel of sixteen images, one after another, to planes that have images in the lanes.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    unsafe fn turn<S: Simd>(&self, images: &[Lanes], c: usize, planes: &mut [f32]) {
        let n = self.vectors;
        for phase in (0..self.stride * self.stride).filter(|&phase| self.is_read(phase)) {
            planes[self.place(phase, c)].fill(0.0);
        }
        let mut pixels = [Lanes::ZERO; LANES];
        for vector in 0..n {
            // SAFETY: the caller guarantees the instruction set.
            unsafe { turn_channels::<S>(floats(&images[vector..]), n * LANES, LANES, &mut pixels) };
            for (at, pixel) in self.turned(vector, c).into_iter().zip(&pixels) {
                if let Some(at) = at {
                    planes[at..at + LANES].copy_from_slice(&pixel.0);
                }
            }
        }
    }

    /// The reverse of [`turn`](Self::turn). Pixels that are not read become zero.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    unsafe fn turn_back<S: Simd>(&self, planes: &[f32], c: usize, images: &mut [Lanes]) {
        let n = self.vectors;
        let mut found = [Lanes::ZERO; LANES];
        for vector in 0..n {
            let pixels = self.turned(vector, c).map(|at| {
                let pixel = at.and_then(|at| planes[at..].first_chunk());
                Lanes(pixel.copied().unwrap_or_default())
            });
            // SAFETY: the caller guarantees the instruction set.
            unsafe { turn_channels::<S>(floats(&pixels), LANES, LANES, &mut found) };
            images[vector..].iter_mut().step_by(n).zip(&found).for_each(|(to, of)| *to = *of);
        }
    }

    /// Copies a channel from its planes, phase by phase, to a stored unit.
    #[inline(always)]
    fn gather(&self, planes: &[f32], c: usize, channel: &mut [Lanes]) {
        let Self { plane, grid, stride: s, .. } = *self;
        let Plane { height, width, .. } = *plane;
        if self.is_halved {
            return self.join(planes, c, channel);
        }
        for phase in 0..s * s {
            let from = &planes[self.place(phase, c)];
            let (py, px) = (phase / s, phase % s);
            for (y, from) in (py..height).step_by(s).zip(from.chunks(grid.pitch)) {
                let columns = (px..width).step_by(s);
                if grid.has_images_in_lanes {
                    for (x, from) in columns.zip(from.chunks_exact(LANES)) {
                        channel[y * width + x].0.copy_from_slice(from);
                    }
                } else {
                    let row = &mut floats_mut(channel)[y * plane.pitch()..][..width];
                    columns.zip(from).for_each(|(x, from)| row[x] = *from);
                }
            }
        }
    }

    /// Whether lanes are images in the arena, but not in the stored activation.
    fn is_turned(&self) -> bool {
        self.grid.has_images_in_lanes && !self.plane.has_images_in_lanes()
    }

    /// Reads a channel of all stored units of a unit from its planes, one unit after another.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(super) unsafe fn channel<'b, S: Simd>(
        &self,
        planes: &'b [f32],
        c: usize,
        memory: &'b mut Vec<Lanes>,
    ) -> &'b [Lanes] {
        let n = self.vectors;
        if self.is_stored_alike {
            let begin = c * self.slots.len + self.slots.above;
            return lanes(&planes[begin..begin + n * LANES]);
        }
        memory.clear();
        if self.is_turned() {
            memory.resize(LANES * n, Lanes::ZERO);
            // SAFETY: the caller guarantees the instruction set.
            unsafe { self.turn_back::<S>(planes, c, memory) };
        } else {
            memory.resize(n, Lanes::ZERO);
            self.gather(planes, c, memory);
        }
        memory
    }
}

/// Floats as vectors. They must begin at a multiple of 64 bytes.
pub(super) fn lanes(floats: &[f32]) -> &[Lanes] {
    assert!(floats.as_ptr().cast::<Lanes>().is_aligned(), "vectors begin at multiples of 64 bytes");
    // SAFETY: the alignment was asserted, and `Lanes` is sixteen floats.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), floats.len() / LANES) }
}

/// Floats as vectors. They must begin at a multiple of 64 bytes.
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
    /// Bit mask of a channel's lanes that hold pixels; `None` if all lanes do.
    pub(super) pixels: Option<&'a [Lanes]>,
    pub(super) planes: &'a mut [f32],
    pub(super) channel: &'a mut Vec<Lanes>,
}

impl<R: ChannelSource> Kernel for Pack<'_, R> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { source, side, unit, pixels, planes, channel } = self;
        let (plane, slots) = (side.plane, side.slots);
        let n = side.vectors;
        if side.is_stored_alike {
            for c in 0..plane.channels {
                let begin = c * slots.len + slots.above;
                let to = lanes_mut(&mut planes[begin..begin + n * LANES]);
                // SAFETY: the caller guarantees the instruction set.
                unsafe {
                    source.fill::<S>(side.channel_of(unit, c), to);
                    if let Some(pixels) = pixels {
                        keep_pixels::<S>(pixels, to);
                    }
                }
            }
            return;
        }
        let each = side.grid.images() / plane.together();
        channel.clear();
        channel.resize(each * n, Lanes::ZERO);
        for c in 0..plane.channels {
            // The channels of missing images stay zero.
            for (stored, to) in side.stored(unit).zip(channel.chunks_exact_mut(n.max(1))) {
                // SAFETY: as above.
                unsafe {
                    source.fill::<S>(side.channel_of(stored, c), to);
                    if let Some(pixels) = pixels {
                        keep_pixels::<S>(pixels, to);
                    }
                }
            }
            // SAFETY: the caller guarantees the instruction set.
            unsafe {
                if side.is_turned() {
                    side.turn::<S>(channel, c, planes);
                } else if side.is_halved {
                    side.split::<S>(channel, c, planes);
                } else {
                    side.scatter(channel, c, planes);
                }
            }
        }
    }
}
