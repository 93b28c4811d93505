//! Micro-kernels of depthwise convolutions.

use super::{
    Channel, Depthwise, Reads,
    window::{Direct, Phases, Whole, Window},
};
use crate::{
    planes::{layout::Layout, spec::Epilogue},
    simd::{Kernel, Simd, launch_on},
};
use std::marker::PhantomData;

impl Depthwise {
    /// Runs the convolution.
    ///
    /// # Panics
    /// If the arena is shorter than the one of the specification.
    pub fn run(&self, arena: &mut [f32]) {
        assert!(
            arena.len() >= self.arena,
            "the arena has {} floats, but {} are needed",
            arena.len(),
            self.arena
        );
        let arena = arena.as_mut_ptr();
        match self.reads {
            Reads::Whole => self.launch(DepthwiseRun::<Whole>::new(self, arena)),
            Reads::Alone => self.launch(Alone { depthwise: self, arena }),
            Reads::Phases => self.launch(DepthwiseRun::<Phases>::new(self, arena)),
            Reads::Wide => self.launch(DepthwiseRun::<Direct<false>>::new(self, arena)),
            Reads::Paired => self.launch(DepthwiseRun::<Direct<true>>::new(self, arena)),
        }
    }

    fn launch(&self, kernel: impl Kernel<Out = ()>) {
        launch_on(self.variant, self.layout.lanes, kernel);
    }
}

struct DepthwiseRun<'a, W> {
    depthwise: &'a Depthwise,
    arena: *mut f32,
    window: PhantomData<W>,
}

impl<'a, W> DepthwiseRun<'a, W> {
    fn new(depthwise: &'a Depthwise, arena: *mut f32) -> Self {
        Self { depthwise, arena, window: PhantomData }
    }
}

impl<W: Window> Kernel for DepthwiseRun<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Depthwise { layout, channels, .. } = self.depthwise;
        let (n, per_row) = (layout.vectors(), layout.pitch / S::WIDTH);
        for channel in channels {
            // SAFETY: the caller guarantees the instruction set. `Depthwise::new` has checked that all vectors lie in
            // the arena: those of a plane at each place, and those of the output.
            unsafe {
                let sums = Sums::<S, W>::new(self.depthwise, self.arena, channel);
                match per_row {
                    0 | 1 => {
                        let kept = kept::<S>(self.depthwise);
                        for v in 0..n {
                            sums.rows(v, &sums.pixels(v), kept);
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

/// Planes of one vector, from which the rows above and below are taken.
struct Alone<'a> {
    depthwise: &'a Depthwise,
    arena: *mut f32,
}

impl Kernel for Alone<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Depthwise { layout: Layout { pitch, .. }, channels, .. } = self.depthwise;
        // Lane indices of the rows above and below, and bit masks of the rows that exist.
        let (mut above, mut below) = ([0; MOST_LANES], [0; MOST_LANES]);
        let (mut has_above, mut has_below) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
        for i in *pitch..S::WIDTH {
            let all = f32::from_bits(u32::MAX);
            (above[i], has_above[i]) = ((i - pitch) as u32, all);
            (below[i - pitch], has_below[i - pitch]) = (i as u32, all);
        }
        // SAFETY: as in `DepthwiseRun`; the tables have at least the floats of a vector, and their indices are below
        // the vector's length.
        unsafe {
            let kept = kept::<S>(self.depthwise);
            let (has_above, has_below) = (S::load(has_above.as_ptr()), S::load(has_below.as_ptr()));
            for channel in channels {
                let sums = Sums::<S, Whole>::new(self.depthwise, self.arena, channel);
                let own = S::load(sums.from);
                let mut pixels = [S::splat(0.0); 6];
                pixels[0] = S::and(has_above, S::permute(own, above.as_ptr()));
                pixels[1] = own;
                pixels[2] = S::and(has_below, S::permute(own, below.as_ptr()));
                sums.rows(0, &pixels, kept);
            }
        }
    }
}

/// Maximum floats per vector.
const MOST_LANES: usize = 16;

/// Bit masks for shifts: all columns of a row except the last, and all except the first.
#[inline(always)]
unsafe fn kept<S: Simd>(depthwise: &Depthwise) -> [S::V; 2] {
    let Depthwise { not_last, not_first, .. } = depthwise;
    // SAFETY: both are vectors, if a vector is one or several rows.
    unsafe { [S::load(not_last.as_ptr()), S::load(not_first.as_ptr())] }
}

/// Computes the sums of a channel by column, and stores them.
struct Sums<S: Simd, W> {
    from: *const f32,
    to: *mut f32,
    places: [i32; 6],
    /// Vectors of a row, at least 1.
    per_row: usize,
    weights: [S::V; 9],
    bias: S::V,
    finish: Epilogue,
    flushes: bool,
    masks: Option<*const f32>,
    window: PhantomData<W>,
}

impl<S: Simd, W: Window> Sums<S, W> {
    #[inline(always)]
    unsafe fn new(depthwise: &Depthwise, arena: *mut f32, channel: &Channel) -> Self {
        let Depthwise { layout, finish, flushes, masks, places, .. } = depthwise;
        let Channel { from, to, bias, weights } = *channel;
        // SAFETY: see `DepthwiseRun`.
        unsafe {
            Self {
                from: arena.cast_const().add(from as usize),
                to: arena.add(to as usize),
                places: *places,
                per_row: (layout.pitch / S::WIDTH).max(1),
                weights: weights.map(|weight| S::splat(weight)),
                bias: S::splat(bias),
                finish: *finish,
                flushes: *flushes,
                masks: if masks.is_empty() { None } else { Some(masks.as_ptr()) },
                window: PhantomData,
            }
        }
    }

    /// Computes a vector of one or several rows.
    #[inline(always)]
    unsafe fn rows(&self, vector: usize, pixels: &[S::V; 6], [not_last, not_first]: [S::V; 2]) {
        // SAFETY: see `DepthwiseRun`.
        unsafe {
            let mut sum = self.right(pixels);
            if !W::RIGHT.is_empty() {
                sum = S::select(not_last, S::down(sum, sum), self.bias);
            }
            let left = self.left(pixels);
            let left = S::and(not_first, S::up(left, left));
            self.store(vector, S::add(self.centre(pixels, sum), left));
        }
    }

    /// The pixels for a vector of the output.
    #[inline(always)]
    unsafe fn pixels(&self, vector: usize) -> [S::V; 6] {
        // SAFETY: see `DepthwiseRun`, here and below.
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

    /// Applies the epilogue, and stores.
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
