//! Recorded bits of kernel results, to detect machines that compute different bits.
//!
//! Inputs are made of integers, since the platform's mathematical functions differ between machines. If a hash changes
//! on all machines in the same way, a kernel's rounding has changed: record the new hash, and mention it in the
//! changelog.

use crate::{
    adamw::{self, AdamWStep},
    conv::{
        self, ConvShape,
        blocked::{BlockedConv, GradAt, InputGrad, Packing, WeightGrad},
    },
    fused::{GradSource, Source},
    hyperbolic::{self, HyperbolicStep},
    lanes::{Lanes, Plane, from_nchw},
    loss::Scores,
    mask::Mask,
    norm::{self, NormShape},
    pool::{self, Windows},
    sgd::{self, SgdStep},
    simd::Variant,
    threshold::{Exponent, Threshold},
    tree::BatchShare,
};

/// FNV-1a of the bits.
fn hash(values: impl IntoIterator<Item = f32>) -> u64 {
    let bytes = values.into_iter().flat_map(|v| v.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Pseudo-random numbers in [−1, 1) that use all bits of a float's mantissa.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| draw()).collect()
}

fn flat(lanes: &[Lanes]) -> impl Iterator<Item = f32> + '_ {
    lanes.iter().flat_map(|lanes| lanes.0)
}

/// Compares the hashes of each variant with the recorded ones, by name.
fn check(recorded: &[(&str, u64)], of: impl Fn() -> Vec<(&'static str, u64)>) {
    for variant in Variant::available() {
        assert_eq!(variant.with(&of), recorded, "{variant}");
    }
}

const SHAPE: ConvShape = ConvShape {
    batch: 5,
    channels_in: 12,
    channels_out: 10,
    height: 12,
    width: 10,
    kernel: (3, 3),
    stride: 1,
    padding: 1,
    dilation: 1,
    groups: 1,
};

#[test]
fn image_by_image() {
    let of = || {
        let shapes = [
            ("square", SHAPE),
            ("wide", ConvShape { channels_in: 2, height: 24, width: 25, ..SHAPE }),
            ("strided", ConvShape { stride: 2, groups: 2, ..SHAPE }),
            ("linear", ConvShape::linear(7, 600, 20)),
        ];
        let found = shapes.map(|(name, shape)| {
            let input = numbers(shape.batch * shape.in_image(), 1);
            let weight = numbers(shape.n_weights(), 2);
            let grad = numbers(shape.batch * shape.out_image(), 3);
            let (mut out, mut grad_input, mut grad_weight) =
                (grad.clone(), input.clone(), weight.clone());
            conv::forward(&shape, &input, &weight, &mut out);
            conv::grad_input(&shape, &weight, &grad, &mut grad_input);
            conv::grad_weight(&shape, &input, &grad, &mut grad_weight);
            (name, hash(out.into_iter().chain(grad_input).chain(grad_weight)))
        });
        found.to_vec()
    };
    check(
        &[
            ("square", 0x4353_25a7_d5f0_c7d5),
            ("wide", 0x5693_16cd_1f68_2690),
            ("strided", 0xc805_2a85_3147_5e12),
            ("linear", 0x2b94_a3ad_d9d0_c810),
        ],
        of,
    );
}

#[test]
fn blocked() {
    let of = || {
        let shape = ConvShape { batch: 21, ..SHAPE };
        let conv = BlockedConv::new(shape);
        let mut input = vec![Lanes::ZERO; conv.input().len()];
        from_nchw(conv.input(), &numbers(shape.batch * shape.in_image(), 1), &mut input);
        let mut grad = vec![Lanes::ZERO; conv.output().len()];
        from_nchw(conv.output(), &numbers(shape.batch * shape.out_image(), 3), &mut grad);
        let dense = numbers(shape.n_weights(), 2);
        let sparse: Vec<f32> = dense.iter().map(|&w| if w.abs() < 0.9 { 0.0 } else { w }).collect();
        let bias = numbers(shape.channels_out, 4);
        let mask = Mask::above(&sparse, 0.0);
        let packings = [
            ("dense", &sparse, Packing::Dense, GradAt::Masked(&mask)),
            ("sparse", &sparse, Packing::Sparse, GradAt::Masked(&mask)),
            ("filtered", &dense, Packing::Winograd, GradAt::All),
        ];
        let found = packings.map(|(name, weight, packing, at)| {
            let (weights, source) =
                (conv.pack(weight, None, packing), Source::Plain((&input).into()));
            let mut out = grad.clone();
            let share = BatchShare::whole(shape.batch);
            let moments = conv.forward_with_moments(&weights, source, Some(&bias), &mut out, share);
            let moments = moments.sum().expect("moments of pixels");
            let mut grad_input = input.clone();
            let transposed = conv.pack_transposed(weight, None, packing);
            let to_input = InputGrad::new(&transposed, &mut grad_input, false);
            let (grad, to_weight) = (GradSource::Plain(&grad), WeightGrad { at, has_bias: true });
            let sums = conv.backward(source, grad, Some(to_input), Some(to_weight), share);
            let (grad_weight, grad_bias) = sums.weight.expect("they are wanted").gradients();
            let moments = moments.iter().flat_map(|m| [m.mean as f32, m.squares as f32]);
            let sums = moments.chain(grad_weight).chain(grad_bias);
            (name, hash(flat(&out).chain(flat(&grad_input)).chain(sums)))
        });
        found.to_vec()
    };
    check(
        &[
            ("dense", 0x878a_35f8_dc17_0b67),
            ("sparse", 0x878a_35f8_dc17_0b67),
            ("filtered", 0x0c13_4ee9_ea32_fc9e),
        ],
        of,
    );
}

#[test]
fn everything_else() {
    let of = || {
        let (x, weights) = (numbers(6 * 70, 1), numbers(1000, 2));
        let shape = NormShape { batch: 6, channels: 7, pixels: 10 };
        let stats = norm::stats(&shape, &x);
        let grads = norm::backward(&shape, &x, &stats, 1e-5, &numbers(7, 3), &numbers(420, 4));
        let norm = grads.x.into_iter().chain(grads.weight).chain(grads.bias);

        let plane = Plane { batch: 6, channels: 2, height: 5, width: 7 };
        let mut lanes = vec![Lanes::ZERO; plane.len()];
        from_nchw(&plane, &x, &mut lanes);
        let windows = Windows { size: (5, 7) };
        let mut mean = vec![Lanes::ZERO; windows.output(&plane).len()];
        pool::average(&plane, windows, &lanes, &mut mean);

        let mask = Mask::above(&weights, 0.3);
        let exponent = Exponent::new(2.5).expect("above 1");
        let operators = [Threshold::Soft, Threshold::FEATHER, Threshold::Power(exponent)];
        let pruned = operators.into_iter().flat_map(|operator| {
            let mut out = vec![0.0; weights.len()];
            operator.forward(&weights, &mask, 0.3, &mut out);
            out
        });

        let scores = Scores { logits: &x, labels: &[3; 42], classes: 10, smoothing: 0.1 };
        let mut slopes = x.clone();
        scores.gradient(1.0, &mut slopes);
        slopes.push(scores.loss() as f32);

        let (mut moved, mut velocity) = (x.clone(), numbers(420, 5));
        let step = SgdStep {
            factor: 0.3,
            decay: 5e-4,
            momentum: 0.9,
            dampening: 0.0,
            nesterov: false,
            lr: 0.1,
        };
        sgd::step(step, &slopes[..420], &mut velocity, &mut moved);
        let (mut adapted, mut first, mut second) = (x.clone(), numbers(420, 6), numbers(420, 7));
        second.iter_mut().for_each(|v| *v = v.abs());
        let step = AdamWStep {
            factor: 0.3,
            decay: 0.01,
            betas: [0.9, 0.999],
            eps: 1e-8,
            lr: 1e-2,
            number: 7,
        };
        adamw::step(step, &slopes[..420], &mut first, &mut second, &mut adapted);
        let mut scaled = x.clone();
        let step = HyperbolicStep { factor: 0.3, alpha: 200.0, beta: 1e-3, lr: 0.1 };
        hyperbolic::step(step, &slopes[..420], &mut scaled);
        vec![
            ("norm", hash(stats.mean.into_iter().chain(stats.var).chain(norm))),
            ("pool", hash(flat(&mean))),
            ("threshold", hash(pruned)),
            ("loss", hash(slopes)),
            ("sgd", hash(moved.into_iter().chain(velocity))),
            ("adamw", hash(adapted.into_iter().chain(first).chain(second))),
            ("hyperbolic", hash(scaled)),
        ]
    };
    check(
        &[
            ("norm", 0x53a8_dd47_0f46_7191),
            ("pool", 0x8473_b99d_738f_808f),
            ("threshold", 0xcdd9_641f_cf64_f1ed),
            ("loss", 0x1256_7e1f_f5e1_94cb),
            ("sgd", 0x927f_a718_2a80_841b),
            ("adamw", 0x3854_6fb7_30c3_5ac1),
            ("hyperbolic", 0x560b_3eb0_e0b7_bbf3),
        ],
        of,
    );
}
