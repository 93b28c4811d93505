//! Compares blocked layers in f32 with candle's own operations in f64.

use crate::{
    Activation, ConvConfig, Gate, KernelContext, Sampling,
    ops::{self, NormParams, Weights, choice::Choice},
};
use candle_core::{DType, Device, Result, Tensor, Var};
use std::sync::Arc;
use taper_kernels::{mask::Mask, threshold::Threshold};

const BATCH: usize = 20;

fn wave(n: usize, frequency: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * frequency).sin()).collect()
}

fn var(dims: &[usize], frequency: f32, dtype: DType) -> Result<Var> {
    let values = wave(dims.iter().product(), frequency);
    Var::from_tensor(&Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(dtype)?)
}

/// A network: the shapes of its variables, and its forward pass.
#[derive(Clone, Copy)]
struct Sketch {
    shapes: &'static [&'static [usize]],
    /// Returns the logits, and an intermediate activation.
    forward: fn(&Net, bool) -> Result<(Tensor, Tensor)>,
}

/// A residual block with a shortcut, global average pooling and a linear layer.
const RESIDUAL: Sketch = Sketch {
    shapes: &[
        &[6, 3, 3, 3],
        &[6],
        &[6],
        &[8, 6, 3, 3],
        &[8],
        &[8],
        &[8, 6, 1, 1],
        &[8],
        &[8],
        &[5, 8],
        &[5],
        &[6],
    ],
    forward: Net::residual,
};

/// A dense block: each layer reads the batch-normalized concatenation of all earlier outputs.
const DENSE: Sketch = Sketch {
    shapes: &[
        &[6, 3, 3, 3],
        &[6],
        &[6],
        &[4, 6, 3, 3],
        &[10],
        &[10],
        &[2, 10, 1, 1],
        &[12],
        &[12],
        &[5, 12],
        &[5],
        &[3, 12, 3, 3],
    ],
    forward: Net::dense,
};

struct Net {
    images: Var,
    vars: Vec<Var>,
    kernels: KernelContext,
    sketch: Sketch,
}

impl Net {
    fn new(sketch: Sketch, dtype: DType, choice: Choice) -> Result<Self> {
        let vars = sketch
            .shapes
            .iter()
            .enumerate()
            .map(|(i, dims)| var(dims, 0.7 + 0.31 * i as f32, dtype));
        Ok(Self {
            images: var(&[BATCH, 3, 6, 6], 0.37, dtype)?,
            vars: vars.collect::<Result<_>>()?,
            kernels: KernelContext::new(choice),
            sketch,
        })
    }

    fn conv(
        &self,
        x: &Activation,
        weight: usize,
        bias: Option<usize>,
        config: ConvConfig,
    ) -> Result<Activation> {
        let weights = Weights {
            weight: &self.vars[weight],
            bias: bias.map(|bias| self.vars[bias].as_tensor()),
            gate: None,
            is_tracked: true,
            direction: None,
        };
        ops::conv2d(x, &weights, &config)
    }

    fn norm(&self, x: &Activation, weight: usize, is_of_batch: bool) -> Result<Activation> {
        let params = NormParams {
            weight: &self.vars[weight],
            bias: &self.vars[weight + 1],
            eps: 1e-5,
            is_tracked: true,
        };
        if is_of_batch {
            return Ok(ops::batch_norm_train(x, &params)?.y);
        }
        let dtype = self.images.dtype();
        let n = self.vars[weight].elem_count();
        let constant = |f: f32| Tensor::from_vec(wave(n, f), n, &Device::Cpu)?.to_dtype(dtype);
        ops::batch_norm_eval(x, &params, &constant(0.4)?, &(constant(0.9)?.sqr()? + 0.5)?)
    }

    fn forward(&self, is_of_batch: bool) -> Result<(Tensor, Tensor)> {
        (self.sketch.forward)(self, is_of_batch)
    }

    fn images(&self) -> Activation {
        Activation::from(self.images.as_tensor()).within(&self.kernels)
    }

    fn logits(&self, x: &Activation) -> Result<Tensor> {
        let linear = Weights {
            weight: &self.vars[9],
            bias: Some(&self.vars[10]),
            gate: None,
            is_tracked: true,
            direction: None,
        };
        ops::linear(&ops::global_average(x)?, &linear)?.tensor()
    }

    /// Batch norms of concatenations, with parts that have several readers, and with different kinds of statistics.
    fn dense(&self, is_of_batch: bool) -> Result<(Tensor, Tensor)> {
        let first = self.conv(&self.images(), 0, None, ConvConfig::same(3))?;
        let x = ops::relu(self.norm(&first, 1, is_of_batch)?)?;
        let second = self.conv(&x, 3, None, ConvConfig::same(3))?;
        let both = ops::concat(&[&first, &second])?;
        let x = ops::relu(self.norm(&both, 4, is_of_batch)?)?;
        let third = self.conv(&x, 6, None, ConvConfig::same(1))?;
        let all = ops::concat(&[&both, &third])?;
        // Two readers of the same parts. The gradient of one comes from a convolution, that of the other does not.
        let x = ops::relu(self.norm(&all, 7, !is_of_batch)?)?;
        let fourth = self.conv(&x, 11, None, ConvConfig::same(3))?;
        let y = ops::relu(self.norm(&all, 7, is_of_batch)?)?;
        // Concatenations: with one part twice, of an activation that is also stored in one piece, and of an input.
        all.tensor()?;
        let twice = ops::concat(&[&fourth, &fourth, &first])?;
        let stored = ops::concat(&[&all])?;
        let stored = ops::relu(self.norm(&stored, 7, is_of_batch)?)?;
        let stored = self.conv(&stored, 11, None, ConvConfig::same(3))?;
        let inputs = ops::concat(&[&self.images(), &self.images(), &self.images(), &stored])?;
        let inputs = self.norm(&inputs, 7, is_of_batch)?;
        let inputs = self.conv(&inputs, 11, None, ConvConfig::same(3))?;
        let z = ops::relu(self.norm(&twice, 7, is_of_batch)?)?;
        let z = self.conv(&z, 11, None, ConvConfig::same(3))?;
        let ends = [z, inputs, ops::relu((&fourth + &stored)?)?];
        let ends = ends.into_iter().map(|end| end.tensor()).collect::<Result<Vec<_>>>()?;
        Ok((self.logits(&y)?, ((&ends[0] + &ends[1])? + &ends[2])?))
    }

    fn residual(&self, is_of_batch: bool) -> Result<(Tensor, Tensor)> {
        let stem = ConvConfig { bias: true, ..ConvConfig::same(3) };
        let x = self.conv(&self.images(), 0, Some(11), stem)?;
        let x = ops::relu(self.norm(&x, 1, is_of_batch)?)?;
        let y = self.conv(&x, 3, None, ConvConfig::same(3).stride(2))?;
        let y = self.norm(&y, 4, is_of_batch)?;
        let shortcut = self.conv(&x, 6, None, ConvConfig::same(1).stride(2))?;
        let shortcut = self.norm(&shortcut, 7, is_of_batch)?;
        let y = ops::relu((y + shortcut)?)?;
        // `y` has two readers, so their gradients must be added.
        let y = (&y + &ops::relu(&y)?)?;
        Ok((self.logits(&y)?, x.tensor()?))
    }

    fn loss(&self, is_of_batch: bool) -> Result<Tensor> {
        let (logits, between) = self.forward(is_of_batch)?;
        logits.sqr()?.sum_all()? + (between.sqr()?.sum_all()? * 0.01)?
    }

    /// Both outputs, and the gradients w.r.t. all variables of a loss of both outputs.
    fn all(&self, is_of_batch: bool) -> Result<Vec<Vec<f64>>> {
        let (logits, between) = self.forward(is_of_batch)?;
        let loss = self.loss(is_of_batch)?;
        loss.backward()?; // a second backward pass over the same graph must give the same
        let grads = loss.backward()?;
        let mut all = vec![logits.clone(), between.clone()];
        for var in std::iter::once(&self.images).chain(&self.vars) {
            all.push(grads.get(var).expect("a gradient for each variable").clone());
        }
        all.iter().map(|t| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()).collect()
    }
}

#[test]
fn values_and_gradients_agree_with_candles_own_operations() -> Result<()> {
    for (sketch, is_of_batch) in [RESIDUAL, DENSE].into_iter().flat_map(|s| [(s, true), (s, false)])
    {
        let want = Net::new(sketch, DType::F64, Choice::Measured)?.all(is_of_batch)?;
        for choice in [Choice::Measured, Choice::ByRule, Choice::Dense, Choice::Sparse] {
            let net = Net::new(sketch, DType::F32, choice)?;
            let got = net.all(is_of_batch)?;
            assert_eq!(net.kernels.measured().is_empty(), choice != Choice::Measured);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got.len(), want.len());
                let size = want.iter().fold(0.0f64, |max, v| max.max(v.abs()));
                for (a, b) in got.iter().zip(want) {
                    let limit = 2e-4 * (size + b.abs()).max(0.05);
                    assert!((a - b).abs() < limit, "{choice:?} output {i}: {a} {b}");
                }
            }
        }
    }
    Ok(())
}

/// Compares the gradient of the blocked layers with finite differences of the loss along a direction of each variable.
/// The loss is computed in f64, because rounding errors in f32 would be too large.
#[test]
fn gradients_agree_with_finite_differences() -> Result<()> {
    const STEP: f64 = 1e-7;
    for is_of_batch in [true, false] {
        let (blocked, plain) = (
            Net::new(RESIDUAL, DType::F32, Choice::Measured)?,
            Net::new(RESIDUAL, DType::F64, Choice::Measured)?,
        );
        let gradients = blocked.all(is_of_batch)?.split_off(2);
        let vars = std::iter::once(&plain.images).chain(&plain.vars);
        for (i, (var, gradient)) in vars.zip(gradients).enumerate() {
            let direction = wave(gradient.len(), 1.3);
            let expected: f64 =
                gradient.iter().zip(&direction).map(|(g, &d)| g * f64::from(d)).sum();
            let start = var.as_tensor().copy()?;
            let direction = Tensor::from_vec(direction, var.dims(), &Device::Cpu)?;
            let direction = direction.to_dtype(DType::F64)?;
            let loss_at = |step: f64| {
                var.set(&(&start + (&direction * step)?)?)?;
                plain.loss(is_of_batch)?.to_scalar::<f64>()
            };
            let slope = (loss_at(STEP)? - loss_at(-STEP)?) / (2.0 * STEP);
            loss_at(0.0)?;
            // Where terms cancel, the rounding error is that of the largest terms.
            let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let error = (slope - expected).abs() / (expected.abs() + size + 1.0);
            assert!(error < 1e-5, "variable {i}: {slope}, not {expected}");
        }
    }
    Ok(())
}

/// The gradient of the weight of a convolution with a gate.
fn gated_grad(
    is_live: Option<fn(f32) -> bool>,
    sampling: Option<Sampling>,
    is_tracked: bool,
) -> Result<(Vec<f32>, Arc<Mask>)> {
    let weight = var(&[8, 6, 3, 3], 0.7, DType::F32)?;
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    let live = is_live.map(|is_live| {
        let mut live = Mask::full(values.len());
        values.iter().enumerate().for_each(|(i, w)| live.set(i, is_live(w.abs())));
        Arc::new(live)
    });
    let gate = Gate {
        value: Threshold::Hard.into(),
        cut: 0.8,
        mask: Arc::new(Mask::above(&values, 0.8)),
        live,
        sampling,
        grad_at_zero: 1.0,
        grad_at_cut: 1.0,
    };
    let x = Tensor::from_vec(wave(64 * 6 * 36, 0.37), (64, 6, 6, 6), &Device::Cpu)?;
    let weights =
        Weights { weight: &weight, bias: None, gate: Some(&gate), is_tracked, direction: None };
    let y = ops::conv2d(&Activation::from(&x), &weights, &ConvConfig::same(3))?;
    let grads = y.tensor()?.sqr()?.sum_all()?.backward()?;
    let grad = match grads.get(&weight) {
        Some(grad) => grad.flatten_all()?.to_vec1()?,
        None => Vec::new(),
    };
    Ok((grad, gate.mask))
}

#[test]
fn the_gradient_of_kept_weights_is_exact_for_every_pruned_gradient() -> Result<()> {
    let (whole, mask) = gated_grad(None, None, true)?;
    let close = |a: f32, b: f32| (a - b).abs() <= 1e-4 * (1.0 + b.abs());
    let (live, _) = gated_grad(Some(|w| w > 0.8), None, true)?;
    let n = 64 / 16;
    let mut mean = vec![0.0f32; whole.len()];
    let n_keys = 400;
    for key in 0..n_keys {
        let (sampled, _) = gated_grad(None, Some(Sampling { share: 1.0 / n as f64, key }), true)?;
        for i in 0..whole.len() {
            mean[i] += sampled[i] / n_keys as f32;
            assert!(!mask.is_kept(i) || close(sampled[i], whole[i]), "key {key}, weight {i}");
        }
    }
    let size = whole.iter().fold(0.0f32, |max, g| max.max(g.abs()));
    for i in 0..whole.len() {
        let want = if mask.is_kept(i) { whole[i] } else { 0.0 };
        assert!(close(live[i], want), "weight {i}: {} {want}", live[i]);
        // 400 random choices of one block in four.
        assert!((mean[i] - whole[i]).abs() < 0.15 * size, "weight {i}: {} {}", mean[i], whole[i]);
    }
    Ok(())
}

#[test]
fn without_gradients_nothing_is_tracked() -> Result<()> {
    assert!(gated_grad(None, None, false)?.0.is_empty());
    Ok(())
}

#[test]
fn only_live_weights_have_a_gradient_and_it_is_exact_if_they_are_few() -> Result<()> {
    let (whole, _) = gated_grad(None, None, true)?;
    let values = var(&[8, 6, 3, 3], 0.7, DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let sampling = Some(Sampling { share: 0.25, key: 7 });
    // About 13 % live weights, for which the kernels compute only these, and about 60 %.
    for (is_live, is_exact) in [((|w| w > 0.98) as fn(f32) -> bool, true), (|w| w > 0.6, false)] {
        let (grad, _) = gated_grad(Some(is_live), sampling, true)?;
        let mut n_estimated = 0;
        for i in 0..whole.len() {
            let is_equal = (grad[i] - whole[i]).abs() <= 1e-4 * (1.0 + whole[i].abs());
            match is_live(values[i].abs()) {
                false => assert_eq!(grad[i], 0.0, "weight {i}"),
                true => n_estimated += usize::from(!is_equal),
            }
        }
        assert_eq!(n_estimated == 0, is_exact, "{n_estimated}");
    }
    Ok(())
}

/// The order of candle's sums depends on the machine, so a small batch must use the sums of the kernels.
#[test]
fn gradients_of_a_frozen_batch_norm_have_the_same_bits_in_small_batches_and_in_blocks() -> Result<()>
{
    let all = var(&[8, 2, 5, 7], 0.7, DType::F32)?;
    let upstream = wave(3 * 70, 0.3);
    let grads = |n: usize| -> Result<Vec<u32>> {
        let x = Var::from_tensor(&all.narrow(0, 0, n)?.copy()?)?;
        let [weight, bias] = [var(&[2], 1.1, DType::F32)?, var(&[2], 1.3, DType::F32)?];
        let [mean, variance] = [0.1f32, 0.8].map(|v| Tensor::full(v, 2, &Device::Cpu));
        let params = NormParams { weight: &weight, bias: &bias, eps: 1e-5, is_tracked: true };
        let y = ops::batch_norm_eval(&x.as_tensor().into(), &params, &mean?, &variance?)?;
        // Images after the third have no gradient.
        let mut upstream = upstream.clone();
        upstream.resize(n * 70, 0.0);
        let upstream = Tensor::from_vec(upstream, y.dims(), &Device::Cpu)?;
        let grads = (y.tensor()? * upstream)?.sum_all()?.backward()?;
        let of = |var: &Var| grads.get(var).expect("a gradient").flatten_all()?.to_vec1::<f32>();
        let mut found = of(&x)?[..3 * 70].to_vec();
        found.extend(of(&weight)?.into_iter().chain(of(&bias)?));
        Ok(found.iter().map(|v| v.to_bits()).collect())
    };
    assert_eq!(grads(3)?, grads(8)?);
    Ok(())
}
