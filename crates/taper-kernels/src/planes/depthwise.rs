//! Depthwise convolution with windows of three columns and three rows, zeros and all.
#![allow(clippy::needless_range_loop, reason = "loops over constants by index become registers")]

use super::{
    conv::{Columns, Finish, Output, Packing, Source, Spec},
    layout::Layout,
};
use crate::{
    Variant,
    simd::{Kernel, Simd, launch_on},
};
use std::marker::PhantomData;

/// A convolution each of whose output channels reads a 3×3 window of one plane, or of the four planes that
/// [`Split`](super::Split) makes of one, or of every second pixel of a plane.
///
/// An output pixel is the sum of [`Conv`](super::Conv), to the bit, if that multiplies zeros as well.
#[derive(Debug)]
pub struct Depthwise {
    variant: Variant,
    layout: Layout,
    arena: usize,
    finish: Finish,
    flushes: bool,
    reads: Reads,
    /// Floats from the first pixel of a channel to each that is read for it.
    places: [i32; 6],
    channels: Vec<Channel>,
    /// Bits that columns other than the last, or the first, of a row keep in a shift, where a vector is a row or several.
    not_last: Vec<f32>,
    not_first: Vec<f32>,
    /// The bits that are kept of each vector of a plane, where a layout has more than its columns; empty where it has not.
    masks: Vec<f32>,
}

/// What windows are taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    /// A plane.
    Whole,
    /// The four planes of every second row and column of one.
    Phases,
    /// Every second pixel of a plane whose rows are twice as many vectors as those of the result, at least two.
    Wide,
    /// Every second pixel of a plane whose rows are vectors.
    Paired,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    /// The first pixel that the first of the places is relative to, and the first that is written.
    from: u32,
    to: u32,
    bias: f32,
    weights: [f32; 9],
}

/// Which pixels are in reach of a vector of the output, and which of them the weights multiply, in the order of their sum: those
/// of the column to the right, of the own, and of the one to the left.
trait Window {
    const RIGHT: &'static [usize];
    const CENTRE: &'static [usize];
    const LEFT: &'static [usize];

    /// The pixels, from the first ones of each place on.
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        per_row: usize,
    ) -> [S::V; 6];
}

/// Three rows of a plane.
struct Whole;

impl Window for Whole {
    const RIGHT: &'static [usize] = &[0, 1, 2];
    const CENTRE: &'static [usize] = &[0, 1, 2];
    const LEFT: &'static [usize] = &[0, 1, 2];

    #[inline(always)]
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        _: usize,
    ) -> [S::V; 6] {
        // SAFETY: see `Run`.
        unsafe { load::<S, 3>(from, places, vector) }
    }
}

/// Three rows of even columns, and three of odd columns.
struct Phases;

impl Window for Phases {
    const RIGHT: &'static [usize] = &[];
    const CENTRE: &'static [usize] = &[0, 3, 1, 4, 2, 5];
    const LEFT: &'static [usize] = &[3, 4, 5];

    #[inline(always)]
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        _: usize,
    ) -> [S::V; 6] {
        // SAFETY: see `Run`.
        unsafe { load::<S, 6>(from, places, vector) }
    }
}

/// A vector of each of the first `N` places, and zeros.
#[inline(always)]
unsafe fn load<S: Simd, const N: usize>(
    from: *const f32,
    places: &[i32; 6],
    vector: usize,
) -> [S::V; 6] {
    // SAFETY: see `Run`.
    unsafe {
        let mut pixels = [S::splat(0.0); 6];
        for i in 0..N {
            pixels[i] = S::load(from.add(vector * S::WIDTH).offset(places[i] as isize));
        }
        pixels
    }
}

/// The same of a whole plane. The two vectors of pixels for a vector of the output lie side by side, or, if rows are vectors
/// (`PAIRED`), two rows apart.
struct Direct<const PAIRED: bool>;

impl<const PAIRED: bool> Window for Direct<PAIRED> {
    const RIGHT: &'static [usize] = Phases::RIGHT;
    const CENTRE: &'static [usize] = Phases::CENTRE;
    const LEFT: &'static [usize] = Phases::LEFT;

    #[inline(always)]
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        per_row: usize,
    ) -> [S::V; 6] {
        let (first, next) = match PAIRED {
            true => (4 * vector, 2),
            false => (vector / per_row * (4 * per_row) + vector % per_row * 2, 1),
        };
        // SAFETY: see `Run`.
        unsafe {
            let from = from.add(first * S::WIDTH);
            let both = |i: usize| {
                let row = from.offset(places[i] as isize);
                S::split(S::load(row), S::load(row.add(next * S::WIDTH)))
            };
            let [a, b, c] = [both(0), both(1), both(2)];
            [a[0], b[0], c[0], a[1], b[1], c[1]]
        }
    }
}

impl Depthwise {
    /// Packs a convolution, if it is one whose sums are shifted along rows.
    ///
    /// # Panics
    /// If a source or output lies outside of the arena.
    pub fn new(variant: Variant, spec: &Spec<'_>) -> Option<Self> {
        let &Spec { layout, columns, outputs, finish, strided, arena, .. } = spec;
        if columns == Columns::InPlace || outputs.count() == 0 {
            return None;
        }
        // Zeros, too.
        let output = |channel: usize| outputs.output(channel, Packing::Shared);
        let Output { sources: pattern, .. } = output(0);
        let has_right = pattern.iter().any(|source| source.shift > 0);
        let (reads, places) = match (strided, has_right) {
            (Some(from), _) if from.pitch == from.lanes => {
                (Reads::Paired, places::<Whole>(&pattern)?)
            }
            (Some(_), _) => (Reads::Wide, places::<Whole>(&pattern)?),
            (None, true) => (Reads::Whole, places::<Whole>(&pattern)?),
            (None, false) => (Reads::Phases, places::<Phases>(&pattern)?),
        };
        let end = layout.vectors() * layout.lanes;
        // Floats from a source's place to the end of all that is read from there.
        let read = match strided {
            Some(from) if !Self::strides(from, layout) => return None,
            Some(from) => Self::reads(from, layout),
            None => end,
        };
        let mut channels = Vec::with_capacity(outputs.count());
        for channel in 0..outputs.count() {
            let Output { at: to, bias, sources, addends } = output(channel);
            let from = sources.first()?.at;
            let is_alike = |(a, b): (&Source, &Source)| {
                a.shift == b.shift && a.at.wrapping_sub(from) == b.at.wrapping_sub(pattern[0].at)
            };
            let is_window = sources.len() == 9 && addends.is_empty();
            if !is_window || !sources.iter().zip(&pattern).all(is_alike) {
                return None;
            }
            for (at, end) in sources.iter().map(|source| (source.at, read)).chain([(to, end)]) {
                assert!(at as usize + end <= arena, "{at} is outside of the arena");
            }
            let mut weights = [0.0; 9];
            let of_column = |shift| sources.iter().filter(move |source| source.shift == shift);
            let by_column = [1, 0, -1].into_iter().flat_map(of_column);
            weights.iter_mut().zip(by_column).for_each(|(weight, source)| *weight = source.weight);
            if strided.is_some() {
                // Of a whole plane, pixels to the right are in the sum of the own column, row by row.
                let [d, e, f, a, b, c, left @ ..] = weights;
                weights[..6].copy_from_slice(&[a, d, b, e, c, f]);
                weights[6..].copy_from_slice(&left);
            }
            channels.push(Channel { from, to, bias, weights });
        }
        let bits = |keep: bool| f32::from_bits(if keep { u32::MAX } else { 0 });
        let row = |keep: &dyn Fn(usize) -> bool| match layout.pitch <= layout.lanes {
            true => (0..layout.lanes).map(|i| bits(keep(i % layout.pitch))).collect(),
            false => Vec::new(),
        };
        let is_pixel =
            |i: usize| i % layout.pitch < layout.columns && i / layout.pitch < layout.rows;
        Some(Self {
            variant,
            layout: *layout,
            arena,
            finish,
            flushes: channels.iter().any(|channel| finish.flushes(channel.bias)),
            reads,
            places,
            channels,
            not_last: row(&|column| column != layout.pitch - 1),
            not_first: row(&|column| column != 0),
            masks: match layout.is_full() {
                true => Vec::new(),
                false => (0..end).map(|i| bits(is_pixel(i))).collect(),
            },
        })
    }

    /// Bytes of its weights and tables.
    pub fn bytes(&self) -> usize {
        size_of::<Channel>() * self.channels.len() + 4 * self.masks.len()
    }

    /// Computes it.
    ///
    /// # Panics
    /// If the arena is another one.
    pub fn run(&self, arena: &mut [f32]) {
        assert!(arena.len() >= self.arena, "another arena");
        let arena = arena.as_mut_ptr();
        match self.reads {
            Reads::Whole => self.launch(Run::<Whole>::new(self, arena)),
            Reads::Phases => self.launch(Run::<Phases>::new(self, arena)),
            Reads::Wide => self.launch(Run::<Direct<false>>::new(self, arena)),
            Reads::Paired => self.launch(Run::<Direct<true>>::new(self, arena)),
        }
    }

    /// Whether every second pixel of planes of a layout can be read for planes of another.
    pub fn strides(from: &Layout, to: &Layout) -> bool {
        let is_wide = from.pitch.is_multiple_of(2 * from.lanes);
        (is_wide || from.pitch == from.lanes)
            && from.lanes == to.lanes
            && from.pitch == 2 * to.pitch
    }

    /// Floats from the place of a window's pixel in the first row to the end of what is read from there on, for all rows.
    pub fn reads(from: &Layout, to: &Layout) -> usize {
        let rows = match from.pitch == from.lanes {
            // The rows of two outputs each.
            true => 4 * to.vectors() - 1,
            false => 2 * to.rows - 1,
        };
        rows * from.pitch
    }

    fn launch(&self, kernel: impl Kernel<Out = ()>) {
        launch_on(self.variant, self.layout.lanes, kernel);
    }
}

/// Where the pixels of a window are, from the first source on, if the sources are a window.
fn places<W: Window>(sources: &[Source]) -> Option<[i32; 6]> {
    let mut places = [None; 6];
    for (shift, pixels) in [(1, W::RIGHT), (0, W::CENTRE), (-1, W::LEFT)] {
        let of_column: Vec<&Source> = sources.iter().filter(|s| s.shift == shift).collect();
        if of_column.len() != pixels.len() {
            return None;
        }
        for (source, &pixel) in of_column.into_iter().zip(pixels) {
            let place = i32::try_from(i64::from(source.at) - i64::from(sources[0].at)).ok()?;
            if *places[pixel].get_or_insert(place) != place {
                return None;
            }
        }
    }
    (sources.len() == 9).then(|| places.map(Option::unwrap_or_default))
}

struct Run<'a, W> {
    depthwise: &'a Depthwise,
    arena: *mut f32,
    window: PhantomData<W>,
}

impl<'a, W> Run<'a, W> {
    fn new(depthwise: &'a Depthwise, arena: *mut f32) -> Self {
        Self { depthwise, arena, window: PhantomData }
    }
}

impl<W: Window> Kernel for Run<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Depthwise { layout, channels, finish, masks, places, .. } = self.depthwise;
        let (n, per_row) = (layout.vectors(), layout.pitch / S::WIDTH);
        let masks = if masks.is_empty() { None } else { Some(masks.as_ptr()) };
        for &Channel { from, to, bias, weights } in channels {
            // SAFETY: the caller vouches for the instructions; `new` has checked that all vectors of a plane of each place and
            // of the output lie in the arena.
            unsafe {
                let from = self.arena.cast_const().add(from as usize);
                let to = self.arena.add(to as usize);
                let weights = weights.map(|weight| S::splat(weight));
                let sums = Sums::<S, W> {
                    from,
                    to,
                    places: *places,
                    per_row: per_row.max(1),
                    weights,
                    bias: S::splat(bias),
                    finish: *finish,
                    flushes: self.depthwise.flushes,
                    masks,
                    window: PhantomData,
                };
                match per_row {
                    0 | 1 => {
                        let not_last = S::load(self.depthwise.not_last.as_ptr());
                        let not_first = S::load(self.depthwise.not_first.as_ptr());
                        for v in 0..n {
                            let pixels = sums.pixels(v);
                            let mut sum = sums.right(&pixels);
                            if !W::RIGHT.is_empty() {
                                sum = S::select(not_last, S::down(sum, sum), sums.bias);
                            }
                            let left = sums.left(&pixels);
                            let left = S::and(not_first, S::up(left, left));
                            sums.store(v, S::add(sums.centre(&pixels, sum), left));
                        }
                    }
                    2 => {
                        for v in (0..n).step_by(2) {
                            let pixels = [sums.pixels(v), sums.pixels(v + 1)];
                            let mut sum = [sums.right(&pixels[0]), sums.right(&pixels[1])];
                            if !W::RIGHT.is_empty() {
                                sum = [S::down(sum[0], sum[1]), S::down(sum[1], sums.bias)];
                            }
                            let left = [sums.left(&pixels[0]), sums.left(&pixels[1])];
                            let left = [S::up(left[0], S::splat(0.0)), S::up(left[1], left[0])];
                            sums.store(v, S::add(sums.centre(&pixels[0], sum[0]), left[0]));
                            sums.store(v + 1, S::add(sums.centre(&pixels[1], sum[1]), left[1]));
                        }
                    }
                    _ => {
                        for first in (0..n).step_by(per_row) {
                            let mut before = S::splat(0.0);
                            let mut pixels = sums.pixels(first);
                            let mut right = sums.right(&pixels);
                            for v in first..first + per_row {
                                let (own, mut sum) = (pixels, right);
                                right = sums.bias;
                                if v + 1 < first + per_row {
                                    pixels = sums.pixels(v + 1);
                                    right = sums.right(&pixels);
                                }
                                if !W::RIGHT.is_empty() {
                                    sum = S::down(sum, right);
                                }
                                let left = sums.left(&own);
                                sums.store(v, S::add(sums.centre(&own, sum), S::up(left, before)));
                                before = left;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The sums of a channel by column, and where they go.
struct Sums<S: Simd, W> {
    from: *const f32,
    to: *mut f32,
    places: [i32; 6],
    /// Vectors of a row, at least 1.
    per_row: usize,
    weights: [S::V; 9],
    bias: S::V,
    finish: Finish,
    flushes: bool,
    masks: Option<*const f32>,
    window: PhantomData<W>,
}

impl<S: Simd, W: Window> Sums<S, W> {
    /// The pixels for a vector of the output.
    #[inline(always)]
    unsafe fn pixels(&self, vector: usize) -> [S::V; 6] {
        // SAFETY: see `Run`, here and below.
        unsafe { W::pixels::<S>(self.from, &self.places, vector, self.per_row) }
    }

    #[inline(always)]
    unsafe fn right(&self, pixels: &[S::V; 6]) -> S::V {
        // SAFETY: as above.
        unsafe { self.chain(W::RIGHT, 0, pixels, self.bias) }
    }

    #[inline(always)]
    unsafe fn centre(&self, pixels: &[S::V; 6], sum: S::V) -> S::V {
        // SAFETY: as above.
        unsafe { self.chain(W::CENTRE, W::RIGHT.len(), pixels, sum) }
    }

    #[inline(always)]
    unsafe fn left(&self, pixels: &[S::V; 6]) -> S::V {
        // SAFETY: as above.
        unsafe { self.chain(W::LEFT, W::RIGHT.len() + W::CENTRE.len(), pixels, S::splat(0.0)) }
    }

    #[inline(always)]
    unsafe fn chain(&self, of: &[usize], first: usize, pixels: &[S::V; 6], mut sum: S::V) -> S::V {
        for (i, &pixel) in of.iter().enumerate() {
            // SAFETY: as above.
            sum = unsafe { S::fma(self.weights[first + i], pixels[pixel], sum) };
        }
        sum
    }

    /// Applies what follows, and stores.
    #[inline(always)]
    unsafe fn store(&self, vector: usize, sum: S::V) {
        let at = vector * S::WIDTH;
        // SAFETY: as above; there is a mask for each vector of a plane.
        unsafe {
            let mut sum = [sum];
            self.finish.apply::<S, 1>(self.flushes, &mut sum);
            let sum = match self.masks {
                Some(masks) => S::and(sum[0], S::load(masks.add(at))),
                None => sum[0],
            };
            S::store(self.to.add(at), sum);
        }
    }
}

#[cfg(test)]
mod tests;
