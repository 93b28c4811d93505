//! Dense products for planes of a few pixels, with output channels in the SIMD lanes.
#![allow(clippy::needless_range_loop, reason = "loops over constants by index become registers")]

use super::{
    layout::{Layout, expect_inside},
    spec::{ConvSpec, Epilogue, Output, TapLists},
};
use crate::{
    Variant,
    simd::{Kernel, Simd, launch},
};

/// A convolution of planes with so few pixels that vectors of pixels would be mostly empty. All output channels have a
/// weight for each tap.
///
/// An output pixel is a chain of fused multiply-adds in the order of the taps, starting from the bias. It is
/// bit-identical to [`PlaneConv`](super::PlaneConv) without shifts.
#[derive(Debug)]
pub struct Dots {
    variant: Variant,
    arena: usize,
    finish: Epilogue,
    flushes: bool,
    pixels: usize,
    /// The first pixel of each tap.
    taps: Vec<u32>,
    /// For each block of channels, [`BLOCK`] weights for each tap.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// First pixel of each output channel.
    outputs: Vec<u32>,
}

/// Maximum pixels per plane.
const MOST: usize = 4;
/// Output channels that are computed at a time.
const BLOCK: usize = 64;

impl Dots {
    /// Whether planes of this layout have few enough pixels.
    pub fn fits(layout: &Layout) -> bool {
        layout.is_full() && (1..=MOST).contains(&layout.plane_len())
    }

    /// Packs a convolution without addends and without shifts.
    ///
    /// # Panics
    /// If planes do not [fit](Self::fits) or lie outside of the arena, or if channels have addends or different
    /// sources.
    pub fn new(variant: Variant, spec: &ConvSpec<'_>) -> Self {
        let &ConvSpec { layout, outputs, finish, arena, .. } = spec;
        assert!(Self::fits(layout) && spec.reach == [0, 0], "{layout:?} does not fit");
        let pixels = layout.plane_len();
        let check = |at: u32| expect_inside(at, pixels, arena);
        let n = outputs.count();
        let (n_blocks, mut taps) = (n.div_ceil(BLOCK), Vec::new());
        let (mut weights, mut bias, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for block in 0..n_blocks {
            let channels = block * BLOCK..n.min((block + 1) * BLOCK);
            let channels = channels.map(|o| outputs.output(o, TapLists::Shared));
            let channels: Vec<Output> = channels.collect();
            if block == 0 {
                taps.extend(channels[0].sources.iter().map(|source| source.at));
                taps.iter().for_each(|&at| check(at));
                weights.reserve_exact(n_blocks * taps.len() * BLOCK);
            }
            for Output { at, sources, addends, .. } in &channels {
                check(*at);
                let are_same = sources.iter().map(|source| source.at).eq(taps.iter().copied());
                assert!(
                    are_same && addends.is_empty(),
                    "channels must have the same sources and no addends"
                );
            }
            for tap in 0..taps.len() {
                let missing = BLOCK - channels.len();
                weights.extend(channels.iter().map(|channel| channel.sources[tap].weight));
                weights.extend(std::iter::repeat_n(0.0, missing));
            }
            places.extend(channels.iter().map(|channel| channel.at));
            bias.extend(channels.iter().map(|channel| channel.bias));
        }
        let flushes = bias.iter().any(|&bias| finish.flushes(bias));
        bias.resize(n_blocks * BLOCK, 0.0);
        Self { variant, arena, finish, flushes, pixels, taps, weights, bias, outputs: places }
    }

    /// Bytes of its weights and tables.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.taps.len() + self.bias.len() + self.outputs.len())
    }

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
        match self.pixels {
            1 => launch(self.variant, DotsRun::<1> { dots: self, arena }),
            2 => launch(self.variant, DotsRun::<2> { dots: self, arena }),
            3 => launch(self.variant, DotsRun::<3> { dots: self, arena }),
            4 => launch(self.variant, DotsRun::<4> { dots: self, arena }),
            n => unreachable!("planes of {n} pixels"),
        }
    }
}

struct DotsRun<'a, const P: usize> {
    dots: &'a Dots,
    arena: *mut f32,
}

impl<const P: usize> Kernel for DotsRun<'_, P> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { dots, arena } = self;
        for block in 0..dots.outputs.len().div_ceil(BLOCK) {
            let mut out = [[0.0f32; BLOCK]; P];
            for first in (0..BLOCK).step_by(2 * S::WIDTH) {
                // SAFETY: the caller guarantees the instruction set. `new` has checked that all taps lie in the arena.
                // It has packed `BLOCK` weights for each tap and `BLOCK` biases for each block, and two vectors begin
                // at `first` in them.
                unsafe {
                    let part = Part::<P> {
                        arena,
                        taps: &dots.taps,
                        // Without taps there are no weights.
                        weights: dots
                            .weights
                            .as_ptr()
                            .wrapping_add(block * dots.taps.len() * BLOCK + first),
                        bias: dots.bias.as_ptr().add(block * BLOCK + first),
                        finish: dots.finish,
                        flushes: dots.flushes,
                        out: out.as_mut_ptr().cast::<f32>().add(first),
                    };
                    S::call(part);
                }
            }
            for (o, &at) in dots.outputs[block * BLOCK..].iter().take(BLOCK).enumerate() {
                for (p, out) in out.iter().enumerate() {
                    // SAFETY: `new` has checked that all pixels of a channel lie in the arena.
                    unsafe { *arena.add(at as usize + p) = out[o] };
                }
            }
        }
    }
}

/// Two vectors of output channels, for all pixels.
struct Part<'a, const P: usize> {
    arena: *const f32,
    taps: &'a [u32],
    weights: *const f32,
    bias: *const f32,
    finish: Epilogue,
    flushes: bool,
    out: *mut f32,
}

impl<const P: usize> Kernel for Part<'_, P> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: see `DotsRun`.
        unsafe {
            let mut weights = self.weights;
            let bias = [S::load(self.bias), S::load(self.bias.add(S::WIDTH))];
            let mut sums = [bias; P];
            for &tap in self.taps {
                let pixels = self.arena.add(tap as usize);
                let loaded = [S::load(weights), S::load(weights.add(S::WIDTH))];
                for p in 0..P {
                    let pixel = S::splat(*pixels.add(p));
                    sums[p][0] = S::fma(loaded[0], pixel, sums[p][0]);
                    sums[p][1] = S::fma(loaded[1], pixel, sums[p][1]);
                }
                // After the last tap, this is behind the weights.
                weights = weights.wrapping_add(BLOCK);
            }
            for p in 0..P {
                self.finish.apply::<S, 2>(self.flushes, &mut sums[p]);
                for half in 0..2 {
                    S::store(self.out.add(p * BLOCK + half * S::WIDTH), sums[p][half]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::{Columns, WeightedPixel, WindowKind, testing::Numbers};

    #[test]
    fn products_are_their_definition() {
        let mut numbers = Numbers(1);
        for variant in Variant::available() {
            for pixels in 1..=MOST {
                for (n_out, n_taps) in [(1, 1), (2, 0), (31, 3), (64, 2), (65, 7), (130, 4)] {
                    let first = n_taps * 5;
                    let mut arena = numbers.many(first + n_out * 5);
                    let outputs: Vec<Output> = (0..n_out)
                        .map(|o| Output {
                            at: (first + o * 5) as u32,
                            bias: numbers.next(),
                            sources: (0..n_taps as u32)
                                .map(|tap| WeightedPixel {
                                    weight: numbers.next(),
                                    at: tap * 5,
                                    shift: 0,
                                })
                                .collect(),
                            addends: Vec::new(),
                        })
                        .collect();
                    let finish = [Epilogue::None, Epilogue::RELU, Epilogue::Leaky { slope: 0.5 }]
                        [numbers.below(3)];
                    let mut want = arena.clone();
                    for output in &outputs {
                        for p in 0..pixels {
                            let add = |sum: f32, source: &WeightedPixel| {
                                source.weight.mul_add(arena[source.at as usize + p], sum)
                            };
                            let sum = output.sources.iter().fold(output.bias, add);
                            want[output.at as usize + p] = match finish {
                                Epilogue::None => sum,
                                Epilogue::Clip { min, max } => sum.max(min).min(max),
                                Epilogue::Leaky { slope } => sum.max(0.0) + sum.min(0.0) * slope,
                            };
                        }
                    }
                    let layout = layout(pixels);
                    let spec = ConvSpec { finish, ..spec(&layout, &outputs, arena.len()) };
                    Dots::new(variant, &spec).run(&mut arena);
                    // Bit-identical, since there is only one order of a sum.
                    assert_eq!(arena, want, "{variant}: {pixels} pixels, {n_taps} taps to {n_out}");
                }
            }
        }
    }

    /// Planes of one row.
    fn layout(pixels: usize) -> Layout {
        Layout { rows: 1, columns: pixels, pitch: pixels, halo: 0, lanes: 1 }
    }

    fn spec<'a>(layout: &'a Layout, outputs: &'a Vec<Output>, arena: usize) -> ConvSpec<'a> {
        let columns = Columns::Shifted(layout.columns);
        let (reach, finish, windows) = ([0, 0], Epilogue::None, WindowKind::Any);
        ConvSpec { layout, columns, reach, outputs, finish, windows, arena, zero: 0 }
    }

    #[test]
    fn planes_outside_of_the_arena_are_refused() {
        let is_refused = |pixels: usize, at: u32, output: u32| {
            let new = || {
                let sources = vec![WeightedPixel { weight: 1.0, at, shift: 0 }];
                let outputs = vec![Output { at: output, sources, ..Output::default() }];
                Dots::new(Variant::Scalar, &spec(&layout(pixels), &outputs, 8))
            };
            std::panic::catch_unwind(new).is_err()
        };
        assert!(!is_refused(3, 5, 5));
        assert!(is_refused(3, 6, 0) && is_refused(3, 0, 6) && is_refused(3, u32::MAX, 0));
        assert!(is_refused(5, 0, 0) && is_refused(0, 0, 0));
    }
}
