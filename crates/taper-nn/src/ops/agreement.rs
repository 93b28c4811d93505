//! Compares the operations of the kernels with those composed of candle's own operations: values and gradients, in each
//! type.

use crate::{
    Activation, ConvConfig, Gate, MaxWindows,
    ops::{self, AdamWStep, HyperbolicStep, NormParams, SgdStep, Weights},
};
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use std::sync::Arc;
use taper_kernels::{
    conv::ConvShape,
    mask::Mask,
    threshold::{Exponent, Threshold},
};

/// How an operation is computed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By the kernels on blocks of images, for any batch size.
    Blocks,
    /// As usual for tensors of this type: in f32 by the kernels, in other types composed.
    Tensors(DType),
}

/// Integers that are exact in f16 and bf16, with ties and zeros.
fn integers(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 11) as f64 - 5.0).collect()
}

/// Values that differ from each other by at least 0.001, and from zero by at least 0.0005.
fn distinct(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 10_007) as f64 - 5003.5) / 1000.0).collect()
}

/// An operation on activations and parameters.
type Op<'a> = &'a dyn Fn(&[Activation], &[Var]) -> Result<Vec<Tensor>>;

/// An operation with the shapes of its inputs.
struct Case<'a> {
    activations: Vec<Vec<usize>>,
    params: Vec<Vec<usize>>,
    /// Returns the outputs; the first one has a gradient.
    op: Op<'a>,
}

impl Case<'_> {
    fn inputs(&self, dtype: DType, values: fn(usize, usize) -> Vec<f64>) -> Result<Vec<Var>> {
        let shapes = self.activations.iter().chain(&self.params).enumerate();
        let var = |(seed, dims): (usize, &Vec<usize>)| {
            let values = values(dims.iter().product(), seed);
            Var::from_tensor(&Tensor::from_vec(values, &dims[..], &Device::Cpu)?.to_dtype(dtype)?)
        };
        shapes.map(var).collect()
    }

    fn outputs(&self, way: Way, inputs: &[Var]) -> Result<Vec<Tensor>> {
        let (x, params) = inputs.split_at(self.activations.len());
        let enter = |var: &Var| match way {
            Way::Blocks => Activation::in_blocks(var),
            Way::Tensors(_) => Ok(Activation::from(var.as_tensor())),
        };
        (self.op)(&x.iter().map(enter).collect::<Result<Vec<_>>>()?, params)
    }

    /// All outputs, then the gradient of each input.
    fn all(&self, way: Way, values: fn(usize, usize) -> Vec<f64>) -> Result<Vec<Tensor>> {
        let dtype = if let Way::Tensors(dtype) = way { dtype } else { DType::F32 };
        let inputs = self.inputs(dtype, values)?;
        let mut found = self.outputs(way, &inputs)?;
        let upstream =
            Tensor::from_vec(integers(found[0].elem_count(), 9), found[0].dims(), &Device::Cpu)?;
        assert_eq!(found[0].dtype(), dtype, "type of the output");
        let grads = (&found[0] * upstream.to_dtype(dtype)?)?.sum_all()?.backward()?;
        for input in &inputs {
            found.push(grads.get(input).expect("a gradient for each input").clone());
        }
        Ok(found)
    }

    /// Compares all ways with the computation in f64. Results are rounded once, and intermediate values `before` times.
    fn agrees(&self, before: f64) -> Result<()> {
        let want = self.all(Way::Tensors(DType::F64), integers)?;
        let ways = [
            (Way::Blocks, 0.0),
            (Way::Tensors(DType::F32), 0.0),
            // Rounding changes a value by at most half the distance between neighbouring numbers.
            (Way::Tensors(DType::F16), 0.5f64.powi(11)),
            (Way::Tensors(DType::BF16), 0.5f64.powi(8)),
        ];
        for (way, rounding) in ways {
            let got = self.all(way, integers)?;
            assert_eq!(got.len(), want.len());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got.dims(), want.dims(), "{way:?}, result {i}");
                let (got, want) = (flat(got)?, flat(want)?);
                let size = want.iter().fold(1.0f64, |max, v| max.max(v.abs()));
                for (a, b) in got.iter().zip(&want) {
                    let limit = rounding * (b.abs() + before * size) + 1e-4 * size;
                    assert!((a - b).abs() <= limit, "{way:?}, result {i}: {a} for {b}");
                }
            }
        }
        Ok(())
    }

    /// Compares the gradients in f64 with finite differences along a direction of each input.
    fn agrees_with_differences(&self) -> Result<()> {
        const STEP: f64 = 1e-6;
        let way = Way::Tensors(DType::F64);
        let inputs = self.inputs(DType::F64, distinct)?;
        let found = self.all(way, distinct)?;
        let grads = &found[found.len() - inputs.len()..];
        for (i, (input, grad)) in inputs.iter().zip(grads).enumerate() {
            let start = input.as_tensor().copy()?;
            let along: Vec<f64> = integers(input.elem_count(), 4).iter().map(|v| v / 5.0).collect();
            let expected: f64 = flat(grad)?.iter().zip(&along).map(|(g, d)| g * d).sum();
            let along = Tensor::from_vec(along, input.dims(), &Device::Cpu)?;
            let terms_at = |step: f64| -> Result<Vec<f64>> {
                input.set(&(&start + (&along * step)?)?)?;
                let y = flat(&self.outputs(way, &inputs)?[0])?;
                Ok(y.iter().zip(integers(y.len(), 9)).map(|(y, u)| y * u).collect())
            };
            let value_at = |step: f64| -> Result<f64> { Ok(terms_at(step)?.iter().sum()) };
            let slope = (value_at(STEP)? - value_at(-STEP)?) / (2.0 * STEP);
            // Rounding error of each term, divided by the step.
            let terms: f64 = terms_at(0.0)?.iter().map(|t| t.abs()).sum();
            let rounding = f64::EPSILON * terms / STEP;
            let size = flat(grad)?.iter().map(|g| g * g).sum::<f64>().sqrt();
            let limit = 1e-5 * (expected.abs() + size + 1.0) + rounding;
            let error = (slope - expected).abs();
            assert!(error < limit, "input {i}: slope {slope}, gradient {expected}, {limit}");
        }
        Ok(())
    }

    fn check(&self) {
        self.agrees(0.0).and_then(|()| self.agrees_with_differences()).unwrap();
    }
}

fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

fn weights<'a>(params: &'a [Var], gate: Option<&'a Gate>) -> Weights<'a> {
    let bias = params.get(1).map(Var::as_tensor);
    Weights { weight: &params[0], bias, gate, is_tracked: true, direction: None }
}

/// One image, a small batch, and batches of one block and of two.
fn batches() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(3), Just(8), Just(17)]
}

/// Convolutions, also depthwise, also with planes and kernels that are not square.
fn convolutions() -> impl Strategy<Value = ConvShape> {
    (
        (batches(), 1usize..5, prop_oneof![2 => Just(1usize), 1 => 2usize..4], 1usize..4),
        (1usize..8, 1usize..8, 1usize..4, 1usize..4),
        (1usize..5, 0usize..3, 1usize..3),
    )
        .prop_map(
            |((batch, groups, gin, gout), (height, width, kh, kw), (stride, padding, dilation))| {
                ConvShape {
                    batch,
                    channels_in: groups * gin,
                    channels_out: groups * gout,
                    height,
                    width,
                    kernel: (kh, kw),
                    stride,
                    padding,
                    dilation,
                    groups,
                }
            },
        )
        .prop_filter("the kernel reaches past the padded plane", |s| s.out_size().is_some())
}

fn check_conv(shape: ConvShape) {
    let ConvShape { stride, padding, dilation, groups, .. } = shape;
    let config = ConvConfig { kernel: 0, stride, padding, dilation, groups, bias: true };
    Case {
        activations: vec![vec![shape.batch, shape.channels_in, shape.height, shape.width]],
        params: vec![
            vec![shape.channels_out, shape.channels_in / groups, shape.kernel.0, shape.kernel.1],
            vec![shape.channels_out],
        ],
        op: &|x, params| Ok(vec![ops::conv2d(&x[0], &weights(params, None), &config)?.tensor()?]),
    }
    .check();
}

/// Batch, channels, and a plane of at least one pixel.
fn planes() -> impl Strategy<Value = Vec<usize>> {
    (batches(), 1usize..4, 1usize..8, 1usize..8).prop_map(|(n, c, h, w)| vec![n, c, h, w])
}

fn of_one(dims: Vec<usize>, op: impl Fn(&Activation) -> Result<Activation>) {
    let op = |x: &[Activation], _: &[Var]| Ok(vec![op(&x[0])?.tensor()?]);
    Case { activations: vec![dims], params: Vec::new(), op: &op }.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolutions_agree(shape in convolutions()) {
        check_conv(shape);
    }

    #[test]
    fn linear_layers_agree(batch in batches(), inputs in 1usize..9, outputs in 1usize..9) {
        Case {
            activations: vec![vec![batch, inputs]],
            params: vec![vec![outputs, inputs], vec![outputs]],
            op: &|x, params| Ok(vec![ops::linear(&x[0], &weights(params, None))?.tensor()?]),
        }
        .check();
    }

    #[test]
    fn average_pools_agree(dims in planes(), size in 1usize..5) {
        prop_assume!(size <= dims[2].min(dims[3]));
        of_one(dims, |x| ops::average(x, size));
    }

    #[test]
    fn global_average_pools_agree(dims in planes()) {
        of_one(dims, |x| ops::global_average(x));
    }

    #[test]
    fn max_pools_agree(
        dims in planes(), size in 1usize..5, stride in 1usize..6, padding in 0usize..3
    ) {
        let windows = MaxWindows { size, stride, padding };
        let fits = |n: usize| n + 2 * padding >= size;
        prop_assume!(padding <= size / 2 && fits(dims[2]) && fits(dims[3]));
        of_one(dims, |x| ops::max_pool(x, windows));
    }

    #[test]
    fn relus_agree(dims in planes()) {
        of_one(dims, |x| ops::relu(x));
    }

    #[test]
    fn batch_norms_in_training_agree(dims in planes()) {
        let channels = vec![dims[1]];
        Case {
            activations: vec![dims],
            params: vec![channels.clone(), channels],
            op: &|x, params| {
                let params =
                    NormParams { weight: &params[0], bias: &params[1], eps: 1e-5, is_tracked: true };
                let normed = ops::batch_norm_train(&x[0], &params)?;
                Ok(vec![normed.y.tensor()?, normed.mean, normed.unbiased_var])
            },
        }
        .check();
    }

    #[test]
    fn batch_norms_in_evaluation_agree(dims in planes()) {
        let channels = vec![dims[1]];
        Case {
            activations: vec![dims],
            params: vec![channels.clone(), channels.clone()],
            op: &|x, params| {
                let statistic = |seed: usize| {
                    let values = integers(channels[0], seed).iter().map(|v| v.abs()).collect();
                    Tensor::from_vec(values, &channels[..], &Device::Cpu)?
                        .to_dtype(params[0].dtype())
                };
                let (mean, var) = (statistic(5)?, statistic(6)?);
                let params =
                    NormParams { weight: &params[0], bias: &params[1], eps: 0.5, is_tracked: true };
                Ok(vec![ops::batch_norm_eval(&x[0], &params, &mean, &var)?.tensor()?])
            },
        }
        .check();
    }

    #[test]
    fn concatenations_agree(dims in planes(), others in 1usize..4, is_flat: bool) {
        let second = [&[dims[0], others], &dims[2..]].concat();
        let rank = if is_flat { 2 } else { 4 };
        Case {
            activations: vec![dims[..rank].to_vec(), second[..rank].to_vec()],
            params: Vec::new(),
            op: &|x, _| Ok(vec![ops::concat(&[&x[0], &x[1], &x[0]])?.tensor()?]),
        }
        .check();
    }

    #[test]
    fn sums_agree(dims in planes(), is_flat: bool) {
        let dims = dims[..if is_flat { 2 } else { 4 }].to_vec();
        Case {
            activations: vec![dims.clone(), dims],
            params: Vec::new(),
            op: &|x, _| Ok(vec![(&x[0] + &x[1])?.tensor()?]),
        }
        .check();
    }

    /// Straight-through gradients are no derivatives, so the ways are only compared with each other.
    #[test]
    fn pruned_layers_agree(
        batch in batches(), which in 0usize..3, cut in 0usize..4, ends in (0usize..3, 0usize..3),
        is_all_live: bool
    ) {
        let n = 6 * 3 * 9;
        let values: Vec<f32> = integers(n, 1).iter().map(|&v| v as f32).collect();
        let cut = cut as f32;
        let gate = Gate {
            value: [Threshold::Soft, Threshold::Power(Exponent::THREE), Threshold::Hard][which].into(),
            cut,
            mask: Arc::new(Mask::above(&values, cut)),
            live: (!is_all_live).then(|| Arc::new(Mask::above(&values, 0.5 * cut))),
            sampling: None,
            grad_at_zero: ends.0 as f32 / 2.0,
            grad_at_cut: ends.1 as f32 / 2.0,
        };
        Case {
            activations: vec![vec![batch, 3, 4, 5]],
            params: vec![vec![6, 3, 3, 3]],
            op: &|x, params| {
                let weights = weights(params, Some(&gate));
                Ok(vec![ops::conv2d(&x[0], &weights, &ConvConfig::same(3))?.tensor()?])
            },
        }
        // The pruned weight is also rounded.
        .agrees(1.0)
        .unwrap();
    }

    #[test]
    fn steps_of_sgd_agree(
        n in 1usize..20, momentum in 0usize..3, decay in 0usize..3, dampening in 0usize..2, nesterov: bool
    ) {
        let step = SgdStep {
            factor: 0.5,
            decay: decay as f64 / 8.0,
            momentum: momentum as f64 / 2.0,
            dampening: dampening as f64 / 4.0,
            nesterov,
            lr: 0.1,
        };
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let (var, mut velocity) = (Var::from_tensor(&drawn(n, 1, dtype)?)?, None);
            for seed in 2..5 {
                ops::sgd_step(&var, &drawn(n, seed, dtype)?, &mut velocity, step)?;
            }
            Ok([flat(&var)?, flat(&velocity.expect("a velocity"))?].concat())
        };
        steps_agree(run);
    }

    #[test]
    fn steps_of_adamw_agree(n in 1usize..20, decay in 0usize..3, which in 0usize..2) {
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let (var, mut moments) = (Var::from_tensor(&drawn(n, 1, dtype)?)?, None);
            for number in 1..4 {
                let step = AdamWStep {
                    factor: 0.5,
                    decay: decay as f64 / 8.0,
                    betas: [[0.9, 0.99], [0.5, 0.75]][which],
                    // A large eps: with a square root near 0, rounding would change the quotient completely.
                    eps: 0.25,
                    lr: 0.1,
                    number,
                };
                let grad = drawn(n, 1 + number as usize, dtype)?;
                ops::adamw_step(&var, &grad, &mut moments, step)?;
            }
            let [mean, square] = moments.expect("moments");
            Ok([flat(&var)?, flat(&mean)?, flat(&square)?].concat())
        };
        steps_agree(run);
    }

    #[test]
    fn hyperbolic_steps_agree(n in 1usize..20, alpha in 0usize..3, beta in 0usize..3) {
        let step = HyperbolicStep {
            factor: 0.5, alpha: alpha as f64 / 2.0, beta: beta as f64 / 4.0, lr: 0.125,
        };
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let var = Var::from_tensor(&drawn(n, 1, dtype)?)?;
            ops::hyperbolic_step(&var, &drawn(n, 2, dtype)?, step)?;
            flat(&var)
        };
        steps_agree(run);
    }
}

/// Integers for a seed, as a tensor.
fn drawn(n: usize, seed: usize, dtype: DType) -> Result<Tensor> {
    Tensor::from_vec(integers(n, seed), n, &Device::Cpu)?.to_dtype(dtype)
}

/// Compares the state after three steps of an optimizer. Its numbers stay below ten.
fn steps_agree(run: impl Fn(DType) -> Result<Vec<f64>>) {
    let want = run(DType::F64).unwrap();
    for (dtype, rounding) in
        [(DType::F32, 1e-6), (DType::F16, 0.5f64.powi(11)), (DType::BF16, 0.5f64.powi(8))]
    {
        for (a, b) in run(dtype).unwrap().iter().zip(&want) {
            assert!((a - b).abs() <= 3.0 * 10.0 * rounding, "{dtype:?}: {a} for {b}");
        }
    }
}

#[test]
fn without_gradients_nothing_is_tracked() -> Result<()> {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let var = |dims: &[usize]| {
            Var::from_tensor(&Tensor::ones(dims, DType::F32, &Device::Cpu)?.to_dtype(dtype)?)
        };
        let (x, weight, each) = (var(&[2, 3, 4, 4])?, var(&[3, 3, 3, 3])?, var(&[3])?);
        let weights = Weights {
            weight: &weight,
            bias: Some(&each),
            gate: None,
            is_tracked: false,
            direction: None,
        };
        let params = NormParams { weight: &each, bias: &each, eps: 1e-5, is_tracked: false };
        let x = Activation::from(x.as_tensor());
        let all = [
            ops::conv2d(&x, &weights, &ConvConfig::same(3))?,
            ops::linear(
                &Activation::from(var(&[2, 3])?.as_tensor()),
                &Weights { weight: var(&[3, 3])?.as_tensor(), ..weights },
            )?,
            ops::batch_norm_train(&x, &params)?.y,
            ops::batch_norm_eval(&x, &params, &each, &each)?,
        ];
        assert!(all.iter().all(|y| y.tensor().is_ok_and(|y| !y.track_op())), "{dtype:?}");
    }
    Ok(())
}

#[test]
fn invalid_inputs_are_errors_with_one_sentence() -> Result<()> {
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu);
    let x = Activation::from(zeros(&[2, 3, 4, 4], DType::F32)?);
    let double = Activation::from(zeros(&[2, 3, 4, 4], DType::F64)?);
    let bytes = Activation::from(zeros(&[2, 3, 4, 4], DType::U8)?);
    let empty = Activation::from(zeros(&[2, 3, 0, 4], DType::F32)?);
    let (weight, each) = (zeros(&[3, 3, 3, 3], DType::F32)?, zeros(&[3], DType::F32)?);
    let weights = Weights {
        weight: &weight,
        bias: Some(&each),
        gate: None,
        is_tracked: true,
        direction: None,
    };
    let params = NormParams { weight: &each, bias: &each, eps: 1e-5, is_tracked: true };
    let windows = MaxWindows { size: 2, stride: 2, padding: 1 };
    let no_rows = Activation::from(zeros(&[16, 3, 0, 4], DType::F32)?);
    let refused: [(Result<Activation>, &str); 15] = [
        (
            ops::conv2d(&double, &weights, &ConvConfig::same(3)),
            "conv2d: the weight is F32, but the input is F64",
        ),
        (ops::conv2d(&bytes, &weights, &ConvConfig::same(3)), "conv2d: the input is U8"),
        (
            ops::batch_norm_train(&double, &params).map(|normed| normed.y),
            "batch-norm: the weight is F32",
        ),
        (
            ops::batch_norm_eval(&x, &params, &each, &zeros(&[2], DType::F32)?),
            "batch-norm: an input of 3 channels does not fit a statistic of shape [2]",
        ),
        (
            ops::batch_norm_train(&no_rows, &params).map(|normed| normed.y),
            "batch-norm: an input of shape [16, 3, 0, 4] has no statistics",
        ),
        (ops::relu(&bytes), "relu: the input is U8"),
        (ops::average(&x, 5), "windows of 5x5 over a plane of 4x4; choose a size from 1 to 4"),
        (ops::average(&bytes, 2), "average: the input is U8"),
        (ops::average(&empty, 1), "no pixels"),
        (ops::global_average(&empty), "no pixels"),
        (ops::max_pool(&empty, windows), "no pixels"),
        (ops::max_pool(&x, MaxWindows { size: 9, ..windows }), "max_pool: windows of 9x9"),
        (ops::concat(&[&x, &double]), "concat: the later part is F64, but the first part is F32"),
        (
            ops::concat(&[&Activation::from(each.clone()), &Activation::from(each.clone())]),
            "concat: parts of shapes [3] and [3]",
        ),
        (&x + &empty, "add: activations of shapes [2, 3, 4, 4] and [2, 3, 0, 4]"),
    ];
    for (result, message) in refused {
        let error = result.expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}
