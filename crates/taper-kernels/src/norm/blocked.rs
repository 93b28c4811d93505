//! Batch norm, ReLU and residual addition of activations in vectors.
//!
//! Between two convolutions stands `relu(scale·x + shift + residual)`. A single reader computes it while it reads
//! ([`Source::Normed`]). For several readers, [`combine`] stores it once. The backward pass reads the gradient at most
//! twice: in [`sums`], for the sums over the whole batch that batch norm needs, and in the reader of the gradient,
//! which may again be a convolution ([`GradSource::Normed`]).

use crate::{
    fused::{
        ActivationView, ChannelSource, GradRun, GradSource, GradSum, GradSums, MomentSums, Moments,
        PassWhere, Source,
    },
    lanes::{LANES, Lanes, Plane, keep_pixels},
    simd::{Kernel, Simd, Variant, launch},
    tree::{BatchShare, Roots},
};
use rayon::prelude::*;

/// Moments of each channel over a rank's part of a batch, for an activation that no convolution has just computed.
/// Empty if there are no pixels.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn moments(plane: &Plane, x: &[Lanes], share: BatchShare) -> Roots<Vec<Moments>> {
    assert_eq!(x.len(), plane.len(), "activation of {plane:?}");
    if x.is_empty() {
        return Roots::none(LANES);
    }
    let variant = Variant::current();
    let of_block = |(block, x): (usize, &[Lanes])| {
        let first = block * LANES / plane.together();
        let mut sums = vec![MomentSums::NONE; plane.channels];
        launch(variant, BlockMoments { plane, first, x, sums: &mut sums });
        sums.into_iter().map(MomentSums::moments).collect::<Vec<_>>()
    };
    let found: Vec<_> = x.par_chunks(plane.block()).enumerate().map(of_block).collect();
    Roots::of(share, plane.batch, LANES, found)
}

struct BlockMoments<'a> {
    plane: &'a Plane,
    /// The first unit.
    first: usize,
    x: &'a [Lanes],
    sums: &'a mut [MomentSums],
}

impl Kernel for BlockMoments<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { plane, first, x, sums } = self;
        for (unit, x) in (first..).zip(x.chunks_exact(plane.unit())) {
            let (pixels, n) = (plane.pixels(unit), plane.filled(unit) * plane.height * plane.width);
            for (sums, x) in sums.iter_mut().zip(x.chunks_exact(plane.vectors())) {
                // SAFETY: the caller guarantees the instruction set.
                unsafe { sums.add::<S>(x, pixels.as_deref(), n) };
            }
        }
    }
}

/// Writes `main + residual`, followed by ReLU if `relu`.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn combine(
    plane: &Plane,
    main: Source,
    residual: Option<Source>,
    relu: bool,
    out: &mut [Lanes],
) {
    main.check(plane);
    if let Some(residual) = &residual {
        residual.check(plane);
    }
    assert_eq!(out.len(), plane.len(), "activation of {plane:?}");
    if out.is_empty() {
        return;
    }
    let variant = Variant::current();
    out.par_chunks_mut(plane.unit()).enumerate().for_each(|(unit, out)| {
        let pixels = plane.pixels(unit);
        let pixels = pixels.as_deref();
        launch(variant, Combine { plane, main, residual, relu, unit, pixels, out });
    });
}

struct Combine<'a> {
    plane: &'a Plane,
    main: Source<'a>,
    residual: Option<Source<'a>>,
    relu: bool,
    unit: usize,
    /// Bit mask of a channel's lanes that hold pixels; `None` if all lanes do.
    pixels: Option<&'a [Lanes]>,
    out: &'a mut [Lanes],
}

impl Kernel for Combine<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { plane, main, residual, relu, unit, pixels, out } = self;
        let n = plane.vectors();
        let mut sides = [vec![Lanes::ZERO; n], vec![Lanes::ZERO; n]];
        for (channel, out) in out.chunks_exact_mut(n).enumerate() {
            let of = plane.channel_of(unit, channel);
            let [one, other] = &mut sides;
            // SAFETY: the channel lies within the activation. All slices have the floats of the channel, `pixels`
            // included. Vectors are aligned.
            unsafe {
                main.fill::<S>(of, one);
                if let Some(residual) = &residual {
                    residual.fill::<S>(of, other);
                }
                let (one, other) = (one.as_ptr().cast::<f32>(), other.as_ptr().cast::<f32>());
                let to = out.as_mut_ptr().cast::<f32>();
                for i in (0..n * LANES).step_by(S::WIDTH) {
                    let mut y = S::load(one.add(i));
                    if residual.is_some() {
                        y = S::add(y, S::load(other.add(i)));
                    }
                    if let Some(pixels) = pixels {
                        y = S::and(y, S::load(pixels.as_ptr().cast::<f32>().add(i)));
                    }
                    S::store_past(to.add(i), if relu { S::where_positive(y, y) } else { y });
                }
            }
        }
        S::fence();
    }
}

/// Sums of the part of `grad` that passes, over a rank's part of a batch. `mean` is the centre of each channel. Empty if
/// there are no pixels.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn sums(
    plane: &Plane,
    grad: &[Lanes],
    x: ActivationView,
    pass: PassWhere,
    mean: &[f32],
    share: BatchShare,
) -> Roots<Vec<GradSums>> {
    assert_eq!(mean.len(), plane.channels, "one mean per channel");
    assert_eq!(grad.len(), plane.len(), "gradient of {plane:?}");
    x.check(plane, "activation");
    pass.check(plane);
    if grad.is_empty() {
        return Roots::none(LANES);
    }
    let variant = Variant::current();
    let of_block = |(block, grad): (usize, &[Lanes])| {
        let mut sums = vec![GradSum::NONE; plane.channels];
        let first = block * LANES / plane.together();
        launch(variant, BlockSum { plane, grad, x, pass, mean, first, sums: &mut sums });
        sums.into_iter().map(GradSum::sums).collect::<Vec<_>>()
    };
    let found: Vec<_> = grad.par_chunks(plane.block()).enumerate().map(of_block).collect();
    Roots::of(share, plane.batch, LANES, found)
}

struct BlockSum<'a> {
    plane: &'a Plane,
    grad: &'a [Lanes],
    x: ActivationView<'a>,
    pass: PassWhere<'a>,
    mean: &'a [f32],
    /// The first unit.
    first: usize,
    sums: &'a mut [GradSum],
}

impl Kernel for BlockSum<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { plane, grad, x, pass, mean, first, sums } = self;
        for (i, grad) in grad.chunks_exact(plane.vectors()).enumerate() {
            let (unit, channel) = (first + i / plane.channels, i % plane.channels);
            let of = plane.channel_of(unit, channel);
            let run = GradRun { x, pass, mean: mean[channel], of };
            // SAFETY: the caller guarantees the instruction set.
            unsafe { sums[channel].add_run::<S>(grad, run) };
        }
    }
}

/// Zeroes a gradient where it does not pass. The activation must be stored: with [`PassWhere::Normed`], its sign is not
/// known here.
///
/// # Panics
/// If a length does not fit `plane`, or `pass` is [`PassWhere::Normed`].
pub fn mask(plane: &Plane, grad: &mut [Lanes], pass: PassWhere) {
    assert_eq!(grad.len(), plane.len(), "gradient of {plane:?}");
    pass.check(plane);
    let y = match pass {
        PassWhere::Everywhere => return,
        PassWhere::Positive(y) => y,
        PassWhere::Normed { .. } => panic!("PassWhere::Normed stores no activation"),
    };
    let variant = Variant::current();
    grad.par_chunks_mut(MASK_CHUNK).zip(y.par_chunks(MASK_CHUNK)).for_each(|(grad, y)| {
        launch(variant, MaskChunk { grad, y });
    });
}

/// Vectors that a task masks.
const MASK_CHUNK: usize = 1 << 12;

struct MaskChunk<'a> {
    grad: &'a mut [Lanes],
    y: &'a [Lanes],
}

impl Kernel for MaskChunk<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.grad.len().min(self.y.len()) * LANES;
        let (grad, y) = (self.grad.as_mut_ptr().cast::<f32>(), self.y.as_ptr().cast::<f32>());
        for i in (0..n).step_by(S::WIDTH) {
            // SAFETY: both have `n` floats.
            unsafe {
                S::store(grad.add(i), S::where_positive(S::load(y.add(i)), S::load(grad.add(i))))
            }
        }
    }
}

/// Writes the gradient of `source` to `out`; with `is_added`, adds it.
///
/// # Panics
/// If a length does not fit `plane`.
pub fn gradient(plane: &Plane, source: GradSource, out: &mut [Lanes], is_added: bool) {
    source.check(plane);
    assert_eq!(out.len(), plane.len(), "gradient of {plane:?}");
    if out.is_empty() {
        return;
    }
    let variant = Variant::current();
    out.par_chunks_mut(plane.unit()).enumerate().for_each(|(unit, out)| {
        let pixels = plane.pixels(unit);
        let pixels = pixels.as_deref();
        launch(variant, Gradient { plane, source, is_added, unit, pixels, out });
    });
}

struct Gradient<'a> {
    plane: &'a Plane,
    source: GradSource<'a>,
    is_added: bool,
    unit: usize,
    /// Bit mask of a channel's lanes that hold pixels; `None` if all lanes do.
    pixels: Option<&'a [Lanes]>,
    out: &'a mut [Lanes],
}

impl Kernel for Gradient<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { plane, source, is_added, unit, pixels, out } = self;
        let n = plane.vectors();
        let mut other = vec![Lanes::ZERO; if is_added { n } else { 0 }];
        for (channel, out) in out.chunks_exact_mut(n).enumerate() {
            let of = plane.channel_of(unit, channel);
            // SAFETY: both slices have the channel's floats; the caller guarantees the instruction set.
            unsafe {
                if !is_added {
                    source.fill::<S>(of, out);
                    if let Some(pixels) = pixels {
                        keep_pixels::<S>(pixels, out);
                    }
                    continue;
                }
                source.fill::<S>(of, &mut other);
                let (to, from) = (out.as_mut_ptr().cast::<f32>(), other.as_ptr().cast::<f32>());
                for i in (0..n * LANES).step_by(S::WIDTH) {
                    S::store(to.add(i), S::add(S::load(to.add(i)), S::load(from.add(i))));
                }
                if let Some(pixels) = pixels {
                    keep_pixels::<S>(pixels, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fused::NormSlope,
        lanes::{from_nchw, to_nchw},
        norm::{self, NormShape},
    };

    const PLANE: Plane = Plane { batch: 19, channels: 3, height: 5, width: 7 };
    const ALL: BatchShare = BatchShare { first: 0, of: PLANE.batch };
    const SHAPE: NormShape = NormShape { batch: 19, channels: 3, pixels: 35 };

    fn wave(frequency: f32) -> Vec<f32> {
        (0..PLANE.batch * PLANE.image()).map(|i| (i as f32 * frequency).sin() + 0.2).collect()
    }

    fn blocked(values: &[f32]) -> Vec<Lanes> {
        let mut out = vec![Lanes([7.0; 16]); PLANE.len()];
        from_nchw(&PLANE, values, &mut out);
        out
    }

    fn plain(blocks: &[Lanes]) -> Vec<f32> {
        let mut out = vec![0.0; PLANE.batch * PLANE.image()];
        to_nchw(&PLANE, blocks, &mut out);
        out
    }

    /// Whether lanes without a pixel are zero: there are at least as many zeros as such lanes.
    fn has_zeros_beside(out: &[Lanes]) -> bool {
        let n = PLANE.batch * PLANE.image();
        let others = out.iter().flat_map(|l| l.0).filter(|v| v.to_bits() == 0).count();
        others >= out.len() * LANES - n
    }

    fn channel(i: usize) -> usize {
        i / SHAPE.pixels % SHAPE.channels
    }

    fn assert_close(got: &[f32], want: &[f32]) {
        for (i, (a, b)) in got.iter().zip(want).enumerate() {
            assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "[{i}] {a} {b}");
        }
    }

    #[test]
    fn combinations_equal_their_formula_for_every_variant() {
        let (x, r) = (wave(0.7), wave(1.9));
        let (scale, shift) = ([0.5, -1.5, 2.0], [0.1, 0.0, -0.3]);
        for variant in Variant::available() {
            for relu in [false, true] {
                for with_residual in [false, true] {
                    let (bx, br) = (blocked(&x), blocked(&r));
                    let main = Source::Normed {
                        x: (&bx).into(),
                        scale: &scale,
                        shift: &shift,
                        relu: false,
                    };
                    let residual = with_residual.then_some(Source::Plain((&br).into()));
                    let mut out = vec![Lanes([7.0; 16]); PLANE.len()];
                    variant.with(|| combine(&PLANE, main, residual, relu, &mut out));
                    let want: Vec<f32> = (0..x.len())
                        .map(|i| {
                            let y = x[i].mul_add(scale[channel(i)], shift[channel(i)]);
                            let y = if with_residual { y + r[i] } else { y };
                            if relu { y.max(0.0) } else { y }
                        })
                        .collect();
                    assert_eq!(plain(&out), want, "{variant} {relu} {with_residual}");
                    assert!(has_zeros_beside(&out));
                }
            }
        }
    }

    #[test]
    fn the_gradient_of_a_normalisation_is_that_of_the_plain_kernel() {
        let (x, grad) = (wave(0.7), wave(1.3));
        let weight = [2.0, 1.0, 0.5];
        let stats = norm::stats(&SHAPE, &x);
        let want = norm::backward(&SHAPE, &x, &stats, 1e-5, &weight, &grad);
        let (bx, bg) = (blocked(&x), blocked(&grad));
        let found = moments(&PLANE, &bx, ALL).sum().unwrap();
        for variant in Variant::available() {
            let mean: Vec<f32> = found.iter().map(|m| m.mean as f32).collect();
            let totals =
                variant.with(|| sums(&PLANE, &bg, (&bx).into(), PassWhere::Everywhere, &mean, ALL));
            let totals = totals.sum().unwrap();
            let slopes: Vec<NormSlope> = (0..3)
                .map(|c| {
                    let inverse = 1.0 / (found[c].variance() + 1e-5).sqrt();
                    let n = found[c].count;
                    assert!((totals[c].grad - f64::from(want.bias[c])).abs() < 1e-3);
                    assert!((totals[c].dot * inverse - f64::from(want.weight[c])).abs() < 1e-3);
                    NormSlope {
                        scale: (f64::from(weight[c]) * inverse) as f32,
                        mean: mean[c],
                        mean_grad: (totals[c].grad / n) as f32,
                        slope: (totals[c].dot * inverse * inverse / n) as f32,
                    }
                })
                .collect();
            let source = GradSource::Normed {
                grad: &bg,
                x: (&bx).into(),
                pass: PassWhere::Everywhere,
                slopes: &slopes,
            };
            let mut out = vec![Lanes([7.0; 16]); PLANE.len()];
            variant.with(|| gradient(&PLANE, source, &mut out, false));
            assert_close(&plain(&out), &want.x);
            assert!(has_zeros_beside(&out));
            variant.with(|| gradient(&PLANE, source, &mut out, true));
            assert_close(&plain(&out), &want.x.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_the_gradient_that_passes_the_relu_is_summed() {
        let (x, grad) = (blocked(&wave(0.7)), blocked(&wave(1.3)));
        let (scale, shift) = ([1.0, -1.0, 0.0], [0.1, 0.0, 0.0]);
        let mut y = vec![Lanes::ZERO; x.len()];
        let source = Source::Normed { x: (&x).into(), scale: &scale, shift: &shift, relu: true };
        combine(&PLANE, source, None, true, &mut y);
        for variant in Variant::available() {
            let of = |pass| {
                let x = (&x).into();
                variant.with(|| sums(&PLANE, &grad, x, pass, &[0.0; 3], ALL)).sum().unwrap()
            };
            let by_value = of(PassWhere::Positive(&y));
            assert_eq!(by_value, of(PassWhere::Normed { scale: &scale, shift: &shift }));
            assert_ne!(by_value[0], of(PassWhere::Everywhere)[0]);
            assert_eq!(by_value[2], GradSums::default());
        }
    }
}
