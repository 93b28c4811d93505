//! Compares with the loops that define a convolution, and every variant with the portable one.

use super::*;
use crate::{
    conv::{
        ConvShape, scalar,
        tests::{integers, shapes},
    },
    fused::{ActivationView, JoinedParts, PassWhere},
    lanes::{LANES, from_nchw, to_nchw},
    mask::Mask,
    norm::blocked as norm,
};
use crate::{fused::Moments, tree};
use proptest::prelude::*;

fn wave(n: usize, frequency: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * frequency).sin()).collect()
}

/// Sets all weights to zero except one in `every`.
fn thinned(mut weight: Vec<f32>, every: usize) -> Vec<f32> {
    for (i, w) in weight.iter_mut().enumerate() {
        if !(i * 31 + i / 7).is_multiple_of(every) {
            *w = 0.0;
        }
    }
    weight
}

fn blocked(plane: &Plane, values: &[f32]) -> Vec<Lanes> {
    let mut out = vec![Lanes([7.0; 16]); plane.len()];
    from_nchw(plane, values, &mut out);
    out
}

fn plain(plane: &Plane, blocks: &[Lanes]) -> Vec<f32> {
    let mut out = vec![7.0; plane.batch * plane.image()];
    to_nchw(plane, blocks, &mut out);
    out
}

/// Everything that a convolution computes, in NCHW.
#[derive(Debug, PartialEq)]
struct All {
    out: Vec<f32>,
    grad_input: Vec<f32>,
    grad_weight: Vec<f32>,
    grad_bias: Vec<f32>,
}

fn all(shape: &ConvShape, packing: Packing, input: &[f32], weight: &[f32], grad: &[f32]) -> All {
    let conv = BlockedConv::new(*shape);
    let bias = wave(shape.channels_out, 1.0);
    let input = blocked(conv.input(), input);
    let grad = blocked(conv.output(), grad);
    let mut out = vec![Lanes([7.0; 16]); conv.output().len()];
    conv.forward(
        &conv.pack(weight, None, packing),
        Source::Plain((&input).into()),
        Some(&bias),
        &mut out,
    );
    let mut grad_input = vec![Lanes([7.0; 16]); input.len()];
    let sums = conv.backward(
        Source::Plain((&input).into()),
        GradSource::Plain(&grad),
        Some(InputGrad::new(&conv.pack_transposed(weight, None, packing), &mut grad_input, false)),
        Some(WeightGrad { at: GradAt::All, has_bias: true }),
        BatchShare::whole(shape.batch),
    );
    let (grad_weight, grad_bias) = sums.weight.expect("they are wanted").gradients();
    All {
        out: plain(conv.output(), &out),
        grad_input: plain(conv.input(), &grad_input),
        grad_weight,
        grad_bias,
    }
}

/// The gradient of the weight over the whole batch.
fn weight_grad(conv: &BlockedConv, input: &[Lanes], grad: &[Lanes], at: GradAt) -> Vec<f32> {
    let (source, grad) = (Source::Plain(input.into()), GradSource::Plain(grad));
    let (to, share) = (WeightGrad { at, has_bias: false }, BatchShare::whole(conv.shape().batch));
    let sums = conv.backward(source, grad, None, Some(to), share);
    sums.weight.expect("it is wanted").gradients().0
}

impl All {
    /// Every bit, the sign of zeros included.
    fn bits(&self) -> Vec<u32> {
        let parts = [&self.out, &self.grad_input, &self.grad_weight, &self.grad_bias];
        parts.into_iter().flatten().map(|v| v.to_bits()).collect()
    }
}

/// The same, computed by the defining loops.
fn specified(shape: &ConvShape, input: &[f32], weight: &[f32], grad: &[f32]) -> All {
    let mut out = vec![0.0; grad.len()];
    scalar::forward(shape, input, weight, &mut out);
    let bias = wave(shape.channels_out, 1.0);
    let pixels = shape.out_pixels();
    let mut grad_bias = vec![0.0; bias.len()];
    for (i, (out, grad)) in out.iter_mut().zip(grad).enumerate() {
        let channel = i / pixels % shape.channels_out;
        *out += bias[channel];
        grad_bias[channel] += grad;
    }
    let mut grad_input = vec![0.0; input.len()];
    scalar::grad_input(shape, weight, grad, &mut grad_input);
    let mut grad_weight = vec![0.0; weight.len()];
    scalar::grad_weight(shape, input, grad, &mut grad_weight);
    All { out, grad_input, grad_weight, grad_bias }
}

/// Whether two results differ by no more than the rounding of minimal filtering.
fn is_near(a: &[f32], b: &[f32]) -> bool {
    let most = b.iter().fold(1.0f32, |most, b| most.max(b.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * most)
}

fn check(shape: &ConvShape) {
    let input = integers(shape.batch * shape.in_image(), 1);
    let grad = integers(shape.batch * shape.out_image(), 3);
    for every in [1, 3, 1000] {
        let weight = thinned(integers(shape.n_weights(), 2), every);
        let want = specified(shape, &input, &weight, &grad);
        for variant in Variant::available() {
            for packing in [Packing::Dense, Packing::Sparse, Packing::Winograd] {
                let got = variant.with(|| all(shape, packing, &input, &weight, &grad));
                // The bias is not an integer, so sums with it are rounded.
                assert!(is_near(&got.out, &want.out), "{variant} {packing:?} {shape:?}");
                // The gradient of the whole weight uses minimal filtering if it supports the shape.
                if BlockedConv::new(*shape).is_winograd {
                    let pairs = [
                        (&got.grad_input, &want.grad_input),
                        (&got.grad_weight, &want.grad_weight),
                    ];
                    for (got, want) in pairs {
                        assert!(is_near(got, want), "{variant} {packing:?} {shape:?}");
                    }
                } else {
                    assert_eq!(got.grad_input, want.grad_input, "{variant} {packing:?} {shape:?}");
                    assert_eq!(
                        got.grad_weight, want.grad_weight,
                        "{variant} {packing:?} {shape:?}"
                    );
                }
                assert_eq!(got.grad_bias, want.grad_bias, "{variant} {packing:?} {shape:?}");
            }
        }
    }
}

const SQUARE: ConvShape = ConvShape {
    batch: 17,
    channels_in: 3,
    channels_out: 7,
    height: 9,
    width: 9,
    kernel: (3, 3),
    stride: 1,
    padding: 1,
    dilation: 1,
    groups: 1,
};

/// Every tile and border: sizes around the tiles of the kernels, and unusual shapes.
fn edges() -> Vec<ConvShape> {
    let mut edges = vec![
        SQUARE,
        ConvShape { batch: 0, ..SQUARE },
        ConvShape { batch: 1, ..SQUARE },
        ConvShape { batch: 16, ..SQUARE },
        ConvShape { stride: 2, ..SQUARE },
        ConvShape { stride: 2, height: 8, width: 8, ..SQUARE },
        ConvShape { stride: 3, padding: 0, ..SQUARE },
        ConvShape { stride: 2, kernel: (1, 1), padding: 0, ..SQUARE },
        ConvShape { stride: 4, kernel: (2, 2), padding: 0, ..SQUARE },
        ConvShape { dilation: 2, padding: 2, ..SQUARE },
        ConvShape { dilation: 3, stride: 2, padding: 4, ..SQUARE },
        ConvShape { padding: 0, ..SQUARE },
        ConvShape { padding: 5, ..SQUARE },
        ConvShape { kernel: (1, 1), padding: 0, ..SQUARE },
        ConvShape { kernel: (1, 1), padding: 1, ..SQUARE },
        ConvShape { kernel: (1, 3), ..SQUARE },
        ConvShape { kernel: (5, 2), padding: 2, ..SQUARE },
        ConvShape { height: 1, width: 1, ..SQUARE },
        ConvShape { height: 2, width: 1, ..SQUARE },
        ConvShape { height: 33, width: 3, ..SQUARE },
        ConvShape { height: 0, kernel: (1, 1), ..SQUARE },
        ConvShape { width: 0, kernel: (1, 1), ..SQUARE },
        ConvShape { height: 0, kernel: (1, 1), channels_out: 8, ..SQUARE },
        ConvShape { channels_in: 0, channels_out: 8, ..SQUARE },
        ConvShape { channels_in: 6, channels_out: 6, groups: 6, ..SQUARE },
        ConvShape { channels_in: 6, channels_out: 12, groups: 6, stride: 2, ..SQUARE },
        ConvShape { channels_in: 4, channels_out: 14, groups: 2, ..SQUARE },
        // At least eight channels, as minimal filtering requires.
        ConvShape { channels_in: 9, channels_out: 11, height: 8, width: 6, ..SQUARE },
        ConvShape { channels_in: 8, channels_out: 14, height: 2, width: 2, batch: 40, ..SQUARE },
        ConvShape { channels_in: 13, channels_out: 8, height: 12, width: 4, padding: 2, ..SQUARE },
        ConvShape::linear(20, 13, 11),
        ConvShape::linear(1, 1, 1),
    ];
    edges.extend((1..20).map(|width| ConvShape { width, height: 2, ..SQUARE }));
    edges.extend((1..14).map(|n| ConvShape {
        channels_in: n,
        channels_out: n,
        height: 2,
        width: 3,
        ..SQUARE
    }));
    edges
}

#[test]
fn every_variant_and_packing_equals_the_specification_on_the_edges() {
    for shape in edges() {
        check(&shape);
    }
}

#[test]
fn variants_packings_and_threads_give_the_same_bits() {
    let direct = [Packing::Dense, Packing::Sparse];
    for (shape, packings) in [
        (ConvShape { channels_in: 13, channels_out: 11, width: 23, ..SQUARE }, &direct[..]),
        (ConvShape { stride: 2, batch: 40, ..SQUARE }, &direct[..]),
        (FILTERED, &direct[..]),
        (FILTERED, &[Packing::Winograd][..]),
    ] {
        let input = wave(shape.batch * shape.in_image(), 0.7);
        let weight = thinned(wave(shape.n_weights(), 1.1), 4);
        let grad = wave(shape.batch * shape.out_image(), 0.3);
        let all = |packing| all(&shape, packing, &input, &weight, &grad).bits();
        let want = Variant::Scalar.with(|| all(packings[0]));
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for variant in Variant::available() {
                for &packing in packings {
                    let got = pool.install(|| variant.with(|| all(packing)));
                    assert!(got == want, "{variant} {packing:?} on {threads} threads");
                }
            }
        }
    }
}

/// Values that lead to zeros of both signs. The products of some of them underflow.
fn zeros_of_both_signs(n: usize, seed: usize) -> Vec<f32> {
    let values = [0.0, -0.0, 1e-30, -1e-30, 0.0, 1.0, -0.0];
    (0..n).map(|i| values[(i * 7919 + i / 13 + seed) % values.len()]).collect()
}

#[test]
fn dense_and_sparse_weights_agree_in_the_sign_of_zero() {
    for shape in [
        SQUARE,
        ConvShape { stride: 2, ..SQUARE },
        ConvShape { channels_in: 6, channels_out: 12, groups: 3, ..SQUARE },
        // Several chunks of source channels.
        ConvShape { channels_in: 60, channels_out: 2, batch: 3, ..SQUARE },
        ConvShape::linear(20, 13, 11),
    ] {
        let conv = BlockedConv::new(shape);
        let input = blocked(conv.input(), &zeros_of_both_signs(shape.batch * shape.in_image(), 1));
        let grad = blocked(conv.output(), &zeros_of_both_signs(shape.batch * shape.out_image(), 2));
        let before = vec![Lanes([-0.0; LANES]); conv.input().len()];
        let bias = vec![-0.0; shape.channels_out];
        let mut weight = zeros_of_both_signs(shape.n_weights(), 3);
        // The last output channel has no weight at all, nor has the first input channel.
        let (taps, kernel) = (shape.taps(), shape.kernel.0 * shape.kernel.1);
        let end = weight.len();
        weight[end - taps..].fill(-0.0);
        weight.chunks_mut(taps).for_each(|of_out| of_out[..kernel].fill(0.0));
        let mask = Mask::above(&weight, 0.0);
        let of = |packing, kept: Option<&Mask>, is_added| {
            let mut out = vec![Lanes([7.0; LANES]); conv.output().len()];
            let source = Source::Plain((&input).into());
            conv.forward(&conv.pack(&weight, kept, packing), source, Some(&bias), &mut out);
            let mut grad_input = before.clone();
            let weights = conv.pack_transposed(&weight, kept, packing);
            let to = InputGrad::new(&weights, &mut grad_input, is_added);
            let share = BatchShare::whole(shape.batch);
            conv.backward(source, GradSource::Plain(&grad), Some(to), None, share);
            let all = out.iter().chain(&grad_input).flat_map(|lanes| lanes.0);
            all.map(f32::to_bits).collect::<Vec<u32>>()
        };
        for is_added in [false, true] {
            let want = Variant::Scalar.with(|| of(Packing::Dense, None, is_added));
            assert!(!want.contains(&(-0.0f32).to_bits()), "{shape:?} stores a negative zero");
            assert!(want.contains(&0), "{shape:?} stores no zero");
            for variant in Variant::available() {
                let sparse = [None, Some(&mask)].map(|kept| (Packing::Sparse, kept));
                for (packing, kept) in [(Packing::Dense, None)].into_iter().chain(sparse) {
                    let got = variant.with(|| of(packing, kept, is_added));
                    assert!(got == want, "{variant} {packing:?} {kept:?} {is_added} {shape:?}");
                }
            }
        }
        // The gradient of a weight: at all places, and at some.
        let of = |at: GradAt| weight_grad(&conv, &input, &grad, at);
        for variant in Variant::available() {
            let (whole, masked) = variant.with(|| (of(GradAt::All), of(GradAt::Masked(&mask))));
            for i in mask.kept() {
                assert_eq!(masked[i].to_bits(), whole[i].to_bits(), "{variant} {shape:?} {i}");
            }
        }
    }
}

/// Twice this is 2 modulo 2⁶⁴.
const WRAPS: usize = (1 << (usize::BITS - 1)) + 1;

#[test]
fn sizes_that_wrap_around_are_refused_before_anything_is_read() {
    let pair = ConvShape { width: 2, ..ConvShape::linear(1, 1, 1) };
    for shape in [
        ConvShape { channels_in: WRAPS, channels_out: WRAPS, groups: WRAPS, ..pair },
        ConvShape { channels_in: WRAPS, ..pair },
        ConvShape { channels_out: WRAPS, ..pair },
        ConvShape { batch: WRAPS, ..pair },
        ConvShape { height: WRAPS, ..pair },
        ConvShape { stride: 1 << 32, channels_in: 1024, ..pair },
        ConvShape { stride: 1 << 31, channels_in: 4, ..pair },
    ] {
        let of = |run: fn(ConvShape)| std::panic::catch_unwind(|| run(shape)).is_err();
        assert!(of(|shape| drop(BlockedConv::new(shape))), "{shape:?}");
        let plain = |shape| super::super::forward(&shape, &[1.0; 2], &[1.0; 2], &mut [0.0; 2]);
        assert!(of(plain), "{shape:?}");
    }
}

#[test]
#[should_panic(expected = "below 2²⁹ floats")]
fn rows_whose_places_do_not_fit_are_refused() {
    BlockedConv::new(ConvShape { channels_in: 1 << 20, channels_out: 1, width: 1 << 8, ..SQUARE });
}

#[test]
#[should_panic(expected = "fewer than 2³² weights")]
fn weights_whose_indices_do_not_fit_are_refused() {
    BlockedConv::new(ConvShape::linear(1, 1 << 17, 1 << 15));
}

/// Uses minimal filtering if it is packed for it, in several tasks.
const FILTERED: ConvShape =
    ConvShape { batch: 40, channels_in: 21, channels_out: 17, height: 34, width: 30, ..SQUARE };

#[test]
fn minimal_filtering_rounds_about_ten_times_as_much_as_the_direct_sum() {
    let shape = FILTERED;
    let input = wave(shape.batch * shape.in_image(), 0.7);
    let weight = wave(shape.n_weights(), 1.1);
    let grad = wave(shape.batch * shape.out_image(), 0.3);
    let of = |packing| all(&shape, packing, &input, &weight, &grad);
    let (direct, filtered) = (of(Packing::Dense), of(Packing::Winograd));
    assert_ne!(direct.out, filtered.out, "the shape is for minimal filtering");
    assert!(is_near(&filtered.out, &direct.out));
    assert!(is_near(&filtered.grad_input, &direct.grad_input));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_variant_and_packing_equals_the_specification(shape in shapes()) {
        check(&shape);
    }
}

/// Rows that are split into even and odd columns, in planes that do not fill their vectors. The kernel reads below the
/// planes.
#[test]
fn halved_planes_have_zeros_below_them() {
    let shape = ConvShape {
        batch: 17,
        channels_in: 2,
        channels_out: 2,
        height: 6,
        width: 6,
        kernel: (1, 2),
        stride: 2,
        padding: 2,
        dilation: 2,
        groups: 2,
    };
    check(&shape);
}

#[test]
fn positions_of_a_mask_get_the_gradient_of_the_whole_and_others_none() {
    let shape = ConvShape { channels_in: 4, channels_out: 14, groups: 2, batch: 40, ..SQUARE };
    let conv = BlockedConv::new(shape);
    let input = blocked(conv.input(), &wave(shape.batch * shape.in_image(), 0.7));
    let grad = blocked(conv.output(), &wave(shape.batch * shape.out_image(), 0.3));
    let of = |at: GradAt| weight_grad(&conv, &input, &grad, at);
    let whole = of(GradAt::All);
    let mask = Mask::above(&wave(shape.n_weights(), 1.3), 0.4);
    let masked = of(GradAt::Masked(&mask));
    for i in 0..whole.len() {
        let want = if mask.is_kept(i) { whole[i] } else { 0.0 };
        assert_eq!(masked[i], want, "{i}");
    }
    // Over all choices of one block of three, estimates average to the whole gradient.
    let mut mean = vec![0.0; whole.len()];
    for chosen in 0..3 {
        let blocks: Vec<bool> = (0..3).map(|b| b == chosen).collect();
        let sampled = of(GradAt::Sampled { exact: &mask, blocks: &blocks, scale: 3.0 });
        for i in 0..whole.len() {
            mean[i] += sampled[i] / 3.0;
            if mask.is_kept(i) {
                assert!((sampled[i] - whole[i]).abs() <= 1e-5 * (1.0 + whole[i].abs()));
            }
        }
    }
    assert!(is_near(&mean, &whole));
}

/// Small planes, of which Winograd's algorithm takes up to sixteen at a time.
#[test]
fn gradients_at_positions_do_not_depend_on_the_packing_for_the_input() {
    for (height, width, batch) in [(8, 8, 16), (5, 5, 40), (12, 7, 37), (16, 16, 24), (20, 20, 16)]
    {
        let shape = ConvShape { channels_in: 9, channels_out: 8, height, width, batch, ..SQUARE };
        let conv = BlockedConv::new(shape);
        let weight = wave(shape.n_weights(), 1.1);
        let input = blocked(conv.input(), &wave(shape.batch * shape.in_image(), 0.7));
        let grad = blocked(conv.output(), &wave(shape.batch * shape.out_image(), 0.3));
        let mask = Mask::above(&wave(shape.n_weights(), 1.3), 0.4);
        let blocks: Vec<bool> = (0..batch.div_ceil(16)).map(|block| block % 2 == 0).collect();
        let sampled = GradAt::Sampled { exact: &mask, blocks: &blocks, scale: 2.0 };
        for at in [GradAt::Masked(&mask), sampled, GradAt::Masked(&Mask::full(shape.n_weights()))] {
            for variant in Variant::available() {
                let want = variant.with(|| weight_grad(&conv, &input, &grad, at));
                for packing in [Packing::Dense, Packing::Sparse, Packing::Winograd] {
                    let packed = conv.pack_transposed(&weight, None, packing);
                    let mut to_input = vec![Lanes::ZERO; input.len()];
                    let sums = variant.with(|| {
                        conv.backward(
                            Source::Plain((&input).into()),
                            GradSource::Plain(&grad),
                            Some(InputGrad::new(&packed, &mut to_input, false)),
                            Some(WeightGrad { at, has_bias: false }),
                            BatchShare::whole(batch),
                        )
                    });
                    let found = sums.weight.expect("it is wanted").gradients().0;
                    assert!(found == want, "{variant} {packing:?} {height} x {width}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "bias of")]
fn a_bias_of_another_length_is_refused() {
    let conv = BlockedConv::new(SQUARE);
    let weights = conv.pack(&wave(SQUARE.n_weights(), 1.0), None, Packing::Dense);
    let input = vec![Lanes::ZERO; conv.input().len()];
    let mut out = vec![Lanes::ZERO; conv.output().len()];
    let bias = vec![0.0; SQUARE.channels_out + 1];
    conv.forward(&weights, Source::Plain((&input).into()), Some(&bias), &mut out);
}

#[test]
fn a_gradient_is_added_to_what_is_there() {
    let conv = BlockedConv::new(SQUARE);
    let weight = integers(SQUARE.n_weights(), 2);
    let grad = blocked(conv.output(), &integers(SQUARE.batch * SQUARE.out_image(), 3));
    let input = blocked(conv.input(), &integers(SQUARE.batch * SQUARE.in_image(), 1));
    let of = |is_added, before: &[Lanes]| {
        let mut out = before.to_vec();
        let weights = conv.pack_transposed(&weight, None, Packing::Sparse);
        let to = InputGrad::new(&weights, &mut out, is_added);
        let (source, grad) = (Source::Plain((&input).into()), GradSource::Plain(&grad));
        conv.backward(source, grad, Some(to), None, BatchShare::whole(conv.shape().batch));
        out
    };
    let (alone, added) = (of(false, &input), of(true, &input));
    for ((alone, added), before) in alone.iter().zip(&added).zip(&input) {
        for lane in 0..16 {
            assert_eq!(alone.0[lane] + before.0[lane], added.0[lane]);
        }
    }
}

/// Small planes and tall planes, with and without stride.
#[test]
fn a_finished_gradient_is_masked_and_summed_as_if_that_came_after() {
    let tall = ConvShape { batch: 37, height: 41, width: 40, channels_in: 9, ..SQUARE };
    for shape in [SQUARE, tall, ConvShape { stride: 2, ..tall }] {
        let conv = BlockedConv::new(shape);
        let plane = conv.input();
        let n_in = shape.batch * shape.in_image();
        let weight = wave(shape.n_weights(), 1.1);
        let grad = blocked(conv.output(), &wave(shape.batch * shape.out_image(), 1.7));
        let (x, before) = (blocked(plane, &wave(n_in, 0.7)), blocked(plane, &wave(n_in, 0.9)));
        let (scale, shift) = (wave(shape.channels_in, 2.0), wave(shape.channels_in, 3.0));
        let mean = wave(shape.channels_in, 1.3);
        let passes = [
            PassWhere::Everywhere,
            PassWhere::Positive(&before),
            PassWhere::Normed { scale: &scale, shift: &shift },
        ];
        for variant in Variant::available() {
            let weights = conv.pack_transposed(&weight, None, Packing::Sparse);
            let of = |finish: Option<Finish>| {
                let mut out = before.clone();
                let to = InputGrad { finish, ..InputGrad::new(&weights, &mut out, true) };
                let grad = GradSource::Plain(&grad);
                let (source, share) = (Source::Plain((&x).into()), BatchShare::whole(shape.batch));
                let sums = variant.with(|| conv.backward(source, grad, Some(to), None, share));
                (out, sums.finish.sum())
            };
            let (raw, _) = of(None);
            for pass in passes {
                let (got, sums) =
                    of(Some(Finish { pass, x: (&x).into(), mean: &mean, scale: None }));
                let sums = sums.expect("it is finished");
                let passed: Vec<Lanes> = (0..raw.len())
                    .map(|i| {
                        let c = i / plane.vectors() % shape.channels_in;
                        Lanes(std::array::from_fn(|lane| {
                            let y = match pass {
                                PassWhere::Everywhere => 1.0,
                                PassWhere::Positive(y) => y[i].0[lane],
                                PassWhere::Normed { .. } => {
                                    x[i].0[lane].mul_add(scale[c], shift[c])
                                }
                            };
                            if y > 0.0 { raw[i].0[lane] } else { 0.0 }
                        }))
                    })
                    .collect();
                assert_eq!(got, passed, "{variant} {shape:?}");
                let (pass, share) = (PassWhere::Everywhere, BatchShare::whole(shape.batch));
                let want = norm::sums(plane, &passed, (&x).into(), pass, &mean, share);
                let want = want.sum().expect("sums of pixels");
                assert_eq!(sums.len(), want.len());
                for (got, want) in sums.iter().zip(&want) {
                    let is_near = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + b.abs());
                    assert!(is_near(got.grad, want.grad) && is_near(got.dot, want.dot));
                }
            }
        }
    }
}

#[test]
fn masked_gradients_times_a_factor_are_added_to_those_of_parts() {
    for shape in [SQUARE, ConvShape { height: 4, width: 4, ..SQUARE }] {
        let conv = BlockedConv::new(shape);
        let (plane, channels) = (conv.input(), shape.channels_in);
        let weight = wave(shape.n_weights(), 1.1);
        let grad = blocked(conv.output(), &wave(shape.batch * shape.out_image(), 1.7));
        let x = blocked(plane, &wave(shape.batch * shape.in_image(), 0.7));
        let before = blocked(plane, &wave(shape.batch * shape.in_image(), 0.9));
        let [scale, shift, mean, factor] = [2.0, 3.0, 1.3, 0.4].map(|f| wave(channels, f));
        let pass = PassWhere::Normed { scale: &scale, shift: &shift };
        let planes = [1, channels - 1].map(|channels| Plane { channels, ..*plane });
        let part = |of: &[Lanes], i: usize| {
            let mut out = vec![Lanes([7.0; LANES]); planes[i].len()];
            crate::concat::part((*plane, of), i, (planes[i], &mut out), false);
            out
        };
        let xs = [0, 1].map(|i| part(&x, i));
        let joined =
            JoinedParts::new(planes.into_iter().zip(xs.iter().map(Vec::as_slice)).collect());
        for variant in Variant::available() {
            let weights = conv.pack_transposed(&weight, None, Packing::Sparse);
            let run = |parts: Vec<GradPart>, x: ActivationView, scale: Option<&[f32]>| {
                let finish = Finish { pass, x, mean: &mean, scale };
                let to = InputGrad { weights: &weights, parts, finish: Some(finish) };
                let (source, grad) = (Source::Plain(x), GradSource::Plain(&grad));
                let share = BatchShare::whole(shape.batch);
                let sums = variant.with(|| conv.backward(source, grad, Some(to), None, share));
                sums.finish.sum().expect("it is finished")
            };
            let mut passed = before.clone();
            let whole = GradPart { channels, out: &mut passed, is_added: false };
            let want = run(vec![whole], (&x).into(), None);
            // The first part has a gradient already.
            let mut outs = [0, 1].map(|i| part(&before, i));
            let parts = outs.iter_mut().zip([true, false]).zip(planes);
            let parts = parts.map(|((out, is_added), plane)| GradPart {
                channels: plane.channels,
                out,
                is_added,
            });
            let got = run(parts.collect(), ActivationView::Joined(&joined), Some(&factor));
            assert_eq!(got, want, "{variant}");
            for (i, out) in outs.iter().enumerate() {
                let (passed, before, plane) = (part(&passed, i), part(&before, i), planes[i]);
                for (v, got) in out.iter().enumerate() {
                    let factor = factor[i + v / plane.vectors() % plane.channels];
                    for lane in 0..LANES {
                        let before = if i == 0 { before[v].0[lane] } else { 0.0 };
                        let want = passed[v].0[lane].mul_add(factor, before);
                        assert_eq!(got.0[lane], want, "{variant} part {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn moments_are_those_of_each_channel() {
    let shape = ConvShape { batch: 21, ..SQUARE };
    let conv = BlockedConv::new(shape);
    let input = blocked(conv.input(), &wave(shape.batch * shape.in_image(), 0.7));
    let weights = conv.pack(&wave(shape.n_weights(), 1.1), None, Packing::Dense);
    let mut out = vec![Lanes::ZERO; conv.output().len()];
    let bias = vec![2.0; 7];
    let source = Source::Plain((&input).into());
    let moments = conv.forward_with_moments(
        &weights,
        source,
        Some(&bias),
        &mut out,
        BatchShare::whole(shape.batch),
    );
    let moments = moments.sum().expect("moments of pixels");
    let out = plain(conv.output(), &out);
    for (channel, found) in moments.iter().enumerate() {
        let values: Vec<f64> = (0..shape.batch)
            .flat_map(|n| &out[(n * 7 + channel) * 81..][..81])
            .map(|&v| f64::from(v))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((found.mean - mean).abs() < 1e-6 && (found.variance() - variance).abs() < 1e-5);
    }
}

#[test]
fn non_finite_values_propagate_as_in_the_specification() {
    let shape = ConvShape { padding: 0, ..SQUARE };
    let grad = vec![1.0; shape.batch * shape.out_image()];
    for bad in [f32::NAN, f32::INFINITY] {
        let mut input = wave(shape.batch * shape.in_image(), 0.7);
        input[100] = bad;
        let weight = wave(shape.n_weights(), 1.1);
        let want = specified(&shape, &input, &weight, &grad);
        for variant in Variant::available() {
            for packing in [Packing::Dense, Packing::Sparse] {
                let got = variant.with(|| all(&shape, packing, &input, &weight, &grad));
                let agree = |a: &[f32], b: &[f32]| {
                    a.iter()
                        .zip(b)
                        .all(|(a, b)| a.is_nan() == b.is_nan() && (!b.is_infinite() || a == b))
                };
                assert!(agree(&got.out, &want.out), "{variant} {packing:?}");
                // Weights of that input channel may become non-finite where the specification is finite, but not the
                // other way round.
                for (i, (got, want)) in got.grad_weight.iter().zip(&want.grad_weight).enumerate() {
                    let is_far = i / 9 % 3 != 1;
                    assert!(want.is_finite() || !got.is_finite(), "{variant} {packing:?} {i}");
                    assert!(!is_far || got.is_finite(), "{variant} {packing:?} {i}");
                }
            }
        }
    }
}

/// Minimal filtering may spread a non-finite value over a tile, but it must not lose one.
#[test]
fn minimal_filtering_loses_no_non_finite_value() {
    let shape = ConvShape { batch: 1, ..FILTERED };
    let grad = wave(shape.batch * shape.out_image(), 0.3);
    let weight = wave(shape.n_weights(), 1.1);
    let pixel = 4 * shape.width + 7;
    for bad in [f32::NAN, f32::INFINITY] {
        let mut input = wave(shape.batch * shape.in_image(), 0.7);
        input[pixel] = bad;
        let want = specified(&shape, &input, &weight, &grad);
        for variant in Variant::available() {
            let got = variant.with(|| all(&shape, Packing::Winograd, &input, &weight, &grad));
            let n_pixels = shape.out_pixels();
            for (i, (got, want)) in got.out.iter().zip(&want.out).enumerate() {
                let (y, x) = (i % n_pixels / shape.width, i % n_pixels % shape.width);
                if !want.is_finite() {
                    assert!(!got.is_finite(), "{variant}: {got} at row {y}, column {x}");
                }
                // Four tiles of 4×4 pixels read the pixel.
                let is_far = !(0..8).contains(&y) || !(4..12).contains(&x);
                assert!(!is_far || got.is_finite(), "{variant}: {got} at row {y}, column {x}");
            }
        }
    }
}

/// A source with batch norm computes the same as the stored activation.
#[test]
fn sources_compute_what_they_say() {
    let shape = ConvShape { batch: 20, ..SQUARE };
    let conv = BlockedConv::new(shape);
    let x = blocked(conv.input(), &wave(shape.batch * shape.in_image(), 0.7));
    let (scale, shift) = (wave(3, 2.0), vec![0.1, -0.2, 0.3]);
    let normed: Vec<f32> = plain(conv.input(), &x)
        .iter()
        .enumerate()
        .map(|(i, x)| x.mul_add(scale[i / 81 % 3], shift[i / 81 % 3]).max(0.0))
        .collect();
    let normed = blocked(conv.input(), &normed);
    let weights = conv.pack(&wave(shape.n_weights(), 1.1), None, Packing::Sparse);
    for variant in Variant::available() {
        let forward = |source| {
            let mut out = vec![Lanes::ZERO; conv.output().len()];
            variant.with(|| conv.forward(&weights, source, None, &mut out));
            out
        };
        let lazy = Source::Normed { x: (&x).into(), scale: &scale, shift: &shift, relu: true };
        assert_eq!(forward(lazy), forward(Source::Plain((&normed).into())), "{variant}");
    }
}

fn whole<T: tree::Summand>(roots: Vec<(u32, T)>) -> Option<T> {
    Roots { images: LANES, roots }.sum()
}

/// The sums over a rank's part of a batch: moments of the output, sums of the finished gradient, and sums for weight and
/// bias.
fn sums_of(
    shape: &ConvShape,
    [input, weight, grad]: [&[f32]; 3],
    at: GradAt,
    share: BatchShare,
) -> (Roots<Vec<Moments>>, BackwardSums) {
    let images = |values: &[f32], plane: &Plane| {
        blocked(plane, &values[share.first * plane.image()..][..plane.batch * plane.image()])
    };
    let conv = BlockedConv::new(*shape);
    let (x, grad) = (images(input, conv.input()), images(grad, conv.output()));
    let mut out = vec![Lanes::ZERO; conv.output().len()];
    let packed = conv.pack(weight, None, Packing::Dense);
    let source = Source::Plain((&x).into());
    let moments = conv.forward_with_moments(&packed, source, None, &mut out, share);
    let mean = wave(shape.channels_in, 1.3);
    let finish = Finish { pass: PassWhere::Positive(&x), x: (&x).into(), mean: &mean, scale: None };
    let transposed = conv.pack_transposed(weight, None, Packing::Dense);
    let mut grad_input = x.clone();
    let to =
        InputGrad { finish: Some(finish), ..InputGrad::new(&transposed, &mut grad_input, false) };
    let to_weight = WeightGrad { at, has_bias: true };
    let grad = GradSource::Plain(&grad);
    (moments, conv.backward(source, grad, Some(to), Some(to_weight), share))
}

#[test]
fn shares_of_a_batch_sum_to_the_bits_of_the_whole() {
    let shapes = [
        ConvShape { batch: 100, ..SQUARE },
        ConvShape { batch: 113, height: 3, width: 3, ..SQUARE },
        ConvShape { batch: 97, ..ConvShape::linear(97, 12, 5) },
    ];
    for shape in shapes {
        let (of, n_weights) = (shape.batch, shape.n_weights());
        let mask = Mask::above(&wave(n_weights, 1.3), 0.4);
        let sampled: Vec<bool> = (0..of.div_ceil(LANES)).map(|block| block % 3 == 1).collect();
        let (input, grad) = (wave(of * shape.in_image(), 0.7), wave(of * shape.out_image(), 0.3));
        let weight = wave(n_weights, 1.1);
        let values = [&input[..], &weight, &grad];
        for cuts in [&[0, 48][..], &[0, 16, 32, 64], &[0, 64, 96]] {
            for masked in 0..3 {
                let at = |blocks| match masked {
                    0 => GradAt::All,
                    1 => GradAt::Masked(&mask),
                    _ => GradAt::Sampled { exact: &mask, blocks, scale: 3.5 },
                };
                let (moments, sums) = sums_of(&shape, values, at(&sampled), BatchShare::whole(of));
                let want = sums.weight.expect("they are wanted").gradients();
                let (mut all_moments, mut all_finish, mut roots) = (vec![], vec![], vec![]);
                let mut rest = None;
                for (i, &first) in cuts.iter().enumerate() {
                    let n = cuts.get(i + 1).copied().unwrap_or(of) - first;
                    let part = ConvShape { batch: n, ..shape };
                    let blocks = &sampled[first / LANES..(first + n).div_ceil(LANES)];
                    let (moments, sums) =
                        sums_of(&part, values, at(blocks), BatchShare { first, of });
                    all_moments.extend(moments.roots);
                    all_finish.extend(sums.finish.roots);
                    let weight = sums.weight.expect("they are wanted");
                    roots.extend(weight.roots);
                    rest = Some(weight.rest);
                }
                let name = format!("{shape:?} from {cuts:?}");
                assert_eq!(whole(all_moments), moments.sum(), "{name}");
                assert_eq!(whole(all_finish), sums.finish.sum(), "{name}");
                let sum = |n: usize, of: fn(&WeightRoot) -> &[f32]| {
                    let mut sum = vec![7.0; n];
                    let parts = roots.iter().map(|(height, root)| (*height, of(root)));
                    tree::add_roots(&mut sum, parts);
                    sum
                };
                let rest = rest.expect("some share");
                let n_all = if masked == 1 { 0 } else { n_weights };
                let all = sum(n_all, |root| &root.all);
                let at = sum(rest.n_positions(), |root| &root.at);
                let bits = |values: Vec<f32>| -> Vec<u32> {
                    values.into_iter().map(f32::to_bits).collect()
                };
                assert_eq!(bits(rest.gradient(all, &at)), bits(want.0), "{name} {masked}");
                let bias = sum(want.1.len(), |root| &root.bias);
                assert_eq!(bits(bias), bits(want.1), "{name} {masked}");
            }
        }
    }
}
