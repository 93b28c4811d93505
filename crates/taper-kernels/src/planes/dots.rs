//! Dense products for planes of a few pixels: output channels in the lanes.
#![allow(clippy::needless_range_loop, reason = "loops over constants by index become registers")]

use super::conv::Finish;
use crate::{
    Variant,
    simd::{Kernel, Simd, launch},
};

/// A convolution all of whose output channels have a weight for each tap, on planes of so few pixels that vectors of them
/// would be mostly empty.
///
/// An output pixel is the chain of fused multiply-adds from the bias on, in the order of the taps: the bits of
/// [`Conv`](super::Conv) without shifts.
#[derive(Debug)]
pub struct Dots {
    variant: Variant,
    arena: usize,
    finish: Finish,
    pixels: usize,
    /// The first pixel of each tap.
    taps: Vec<u32>,
    /// For each block of channels, [`BLOCK`] weights for each tap.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// First pixel of each output channel.
    outputs: Vec<u32>,
}

/// Most pixels of a plane.
const MOST: usize = 4;
/// Output channels at a time.
const BLOCK: usize = 64;

impl Dots {
    /// Most pixels of a plane.
    pub const MOST_PIXELS: usize = MOST;

    /// Packs it. `weight` gives that of an output channel and a tap; `outputs` are the first pixel and the bias of each.
    ///
    /// # Panics
    /// If a plane has no pixels or more than [`MOST_PIXELS`](Self::MOST_PIXELS), or lies outside of the arena of so many floats.
    pub fn new(
        variant: Variant,
        pixels: usize,
        taps: Vec<u32>,
        outputs: &[(u32, f32)],
        weight: impl Fn(usize, usize) -> f32,
        finish: Finish,
        arena: usize,
    ) -> Self {
        assert!((1..=MOST).contains(&pixels), "planes of {pixels} pixels");
        for &at in taps.iter().chain(outputs.iter().map(|(at, _)| at)) {
            assert!(at as usize + pixels <= arena, "{at} is outside of the arena");
        }
        let n_blocks = outputs.len().div_ceil(BLOCK);
        let mut weights = Vec::with_capacity(n_blocks * taps.len() * BLOCK);
        for block in 0..n_blocks {
            for tap in 0..taps.len() {
                let channels =
                    (block * BLOCK..(block + 1) * BLOCK).map(|o| match o < outputs.len() {
                        true => weight(o, tap),
                        false => 0.0,
                    });
                weights.extend(channels);
            }
        }
        let mut bias: Vec<f32> = outputs.iter().map(|(_, bias)| *bias).collect();
        bias.resize(n_blocks * BLOCK, 0.0);
        let outputs = outputs.iter().map(|(at, _)| *at).collect();
        Self { variant, arena, finish, pixels, taps, weights, bias, outputs }
    }

    /// Bytes of its weights and tables.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.taps.len() + self.bias.len() + self.outputs.len())
    }

    /// Computes it.
    ///
    /// # Panics
    /// If the arena is another one.
    pub fn run(&self, arena: &mut [f32]) {
        assert!(arena.len() >= self.arena, "another arena");
        let arena = arena.as_mut_ptr();
        match self.pixels {
            1 => launch(self.variant, Run::<1> { dots: self, arena }),
            2 => launch(self.variant, Run::<2> { dots: self, arena }),
            3 => launch(self.variant, Run::<3> { dots: self, arena }),
            _ => launch(self.variant, Run::<4> { dots: self, arena }),
        }
    }
}

struct Run<'a, const P: usize> {
    dots: &'a Dots,
    arena: *mut f32,
}

impl<const P: usize> Kernel for Run<'_, P> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { dots, arena } = self;
        for block in 0..dots.outputs.len().div_ceil(BLOCK) {
            let mut out = [[0.0f32; BLOCK]; P];
            for first in (0..BLOCK).step_by(2 * S::WIDTH) {
                // SAFETY: the caller vouches for the instructions; `new` has checked that taps lie in the arena, and packed
                // `BLOCK` weights for each and biases for each block, of which `first` begins two vectors.
                unsafe {
                    let part = Part::<P> {
                        arena,
                        taps: &dots.taps,
                        weights: dots.weights.as_ptr().add(block * dots.taps.len() * BLOCK + first),
                        bias: dots.bias.as_ptr().add(block * BLOCK + first),
                        finish: dots.finish,
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

/// Two vectors of output channels, of all pixels.
struct Part<'a, const P: usize> {
    arena: *const f32,
    taps: &'a [u32],
    weights: *const f32,
    bias: *const f32,
    finish: Finish,
    out: *mut f32,
}

impl<const P: usize> Kernel for Part<'_, P> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: see `Run`.
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
                weights = weights.add(BLOCK);
            }
            for p in 0..P {
                self.finish.apply::<S, 2>(&mut sums[p]);
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
    use crate::planes::testing::Numbers;

    #[test]
    fn products_are_their_definition() {
        let mut numbers = Numbers(1);
        for variant in Variant::available() {
            for pixels in 1..=MOST {
                for (n_out, n_taps) in [(1, 1), (2, 0), (31, 3), (64, 2), (65, 7), (130, 4)] {
                    let first = n_taps * 5;
                    let mut arena = numbers.many(first + n_out * 5);
                    let taps: Vec<u32> = (0..n_taps as u32).map(|tap| tap * 5).collect();
                    let outputs: Vec<(u32, f32)> =
                        (0..n_out).map(|o| ((first + o * 5) as u32, numbers.next())).collect();
                    let weights = numbers.many(n_out * n_taps);
                    let weight = |o: usize, tap: usize| weights[o * n_taps + tap];
                    let finish = [Finish::None, Finish::RELU, Finish::Leaky { slope: 0.5 }]
                        [numbers.below(3)];
                    let mut want = arena.clone();
                    for (o, &(at, bias)) in outputs.iter().enumerate() {
                        for p in 0..pixels {
                            let add = |sum: f32, tap: usize| {
                                weight(o, tap).mul_add(arena[taps[tap] as usize + p], sum)
                            };
                            let sum = (0..n_taps).fold(bias, add);
                            want[at as usize + p] = match finish {
                                Finish::None => sum,
                                Finish::Clip { min, max } => sum.max(min).min(max),
                                Finish::Leaky { slope } => sum.max(0.0) + sum.min(0.0) * slope,
                            };
                        }
                    }
                    let len = arena.len();
                    Dots::new(variant, pixels, taps, &outputs, weight, finish, len).run(&mut arena);
                    // To the bit, as there is one order of a sum.
                    assert_eq!(arena, want, "{variant}: {pixels} pixels, {n_taps} taps to {n_out}");
                }
            }
        }
    }

    #[test]
    fn planes_outside_of_the_arena_are_refused() {
        let is_refused = |pixels: usize, tap: u32, output: u32| {
            let new = || {
                let one = |_, _| 1.0;
                Dots::new(
                    Variant::Scalar,
                    pixels,
                    vec![tap],
                    &[(output, 0.0)],
                    one,
                    Finish::None,
                    8,
                )
            };
            std::panic::catch_unwind(new).is_err()
        };
        assert!(!is_refused(3, 5, 5));
        assert!(is_refused(3, 6, 0) && is_refused(3, 0, 6) && is_refused(3, u32::MAX, 0));
        assert!(is_refused(0, 0, 0) && is_refused(5, 0, 0));
    }
}
