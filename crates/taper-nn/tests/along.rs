//! Derivatives along a direction of the weights, compared with finite differences in f64; and the flow along paths,
//! compared with a result computed by hand.
#![allow(clippy::disallowed_methods, reason = "only makes test inputs")]

use candle_core::{DType, Device, Result, Tensor, Var};
use taper_core::LayerId;
use taper_nn::{
    BatchNorm, BatchNormConfig, Conv2d, ConvConfig, Gates, Init, Linear, MaxWindows, Mode, Model,
    ParamKind, Params, Pass, Scope, average, concat, global_average, max_pool, relu,
};

/// A network with every operation.
struct Net {
    conv: Conv2d,
    norm: BatchNorm,
    strided: Conv2d,
    depthwise: Conv2d,
    linear: Linear,
    params: Params,
}

impl Net {
    fn new(dtype: DType) -> Result<Self> {
        let scope = Scope::new(0, &Device::Cpu).with_dtype(dtype)?;
        let conv = |name: &str, channels: [usize; 2], config| {
            Conv2d::new(&scope.pp(name), channels[0], channels[1], config, Init::Normal(0.5))
        };
        let net = Self {
            conv: conv("conv", [2, 4], ConvConfig::same(3).groups(2).biased())?,
            norm: BatchNorm::new(&scope.pp("norm"), 4)?,
            strided: conv("strided", [2, 4], ConvConfig::same(3).stride(2))?,
            depthwise: conv("depthwise", [4, 4], ConvConfig::same(3).groups(4))?,
            linear: Linear::new(&scope.pp("linear"), 8, 3, Init::Normal(0.5))?,
            params: scope.finish(),
        };
        // With a bias of 0, a wrong bias in the derivative would not show.
        let bias = &net.params.get("linear.bias").expect("a bias").var;
        bias.set(&wave(bias.dims(), 0.3)?.to_dtype(dtype)?)?;
        Ok(net)
    }
}

impl Model for Net {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let x = relu(self.norm.forward(self.conv.forward(images, pass)?, pass)?)?;
        let x = (&x + &self.depthwise.forward(&x, pass)?)?;
        let small = max_pool(&x, MaxWindows { size: 3, stride: 2, padding: 1 })?;
        let small = concat(&[&small, &self.strided.forward(images, pass)?])?;
        self.linear.forward(global_average(average(&small, 2)?)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

/// Irregular numbers between -1 and 1, of this shape.
fn wave(dims: &[usize], seed: f64) -> Result<Tensor> {
    let n: usize = dims.iter().product();
    let values: Vec<f64> = (0..n).map(|i| (i as f64 * 12.9898 + seed).sin()).collect();
    Tensor::from_vec(values, dims, &Device::Cpu)
}

fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

fn weights(net: &Net) -> Vec<&Var> {
    net.params.prunable().map(|(_, var)| var).collect()
}

fn directions(net: &Net) -> Result<Vec<Tensor>> {
    let layers = weights(net).into_iter().enumerate();
    layers.map(|(i, var)| wave(var.dims(), i as f64)?.to_dtype(var.dtype())).collect()
}

const BATCH: usize = 3;

fn images() -> Result<Tensor> {
    wave(&[BATCH, 2, 6, 8], 0.5)
}

/// The logits at weights moved by `step` along the directions, and the gradient of a weighted sum of the logits w.r.t.
/// each weight.
fn at(net: &Net, step: f64) -> Result<(Vec<f64>, Vec<f64>)> {
    let copy = |var: &&Var| var.as_tensor().copy();
    let before: Vec<Tensor> = weights(net).iter().map(copy).collect::<Result<_>>()?;
    for (var, direction) in weights(net).iter().zip(directions(net)?) {
        var.set(&(var.as_tensor() + (direction * step)?)?)?;
    }
    let logits = net.forward(&images()?, &Pass::train(&Gates::NONE).without_statistics())?;
    let grads = (&logits * wave(logits.dims(), 0.1)?)?.sum_all()?.backward()?;
    for (var, before) in weights(net).iter().zip(before) {
        var.set(&before)?;
    }
    let of = |var: &Var| flat(grads.get(var).expect("a gradient"));
    let grads: Result<Vec<Vec<f64>>> = weights(net).into_iter().map(of).collect();
    Ok((flat(&logits)?, grads?.concat()))
}

/// Derivatives of the logits along the directions, and second derivatives.
fn along(net: &Net, dtype: DType) -> Result<(Vec<f64>, Vec<f64>)> {
    let (directions, images) = (directions(net)?, images()?.to_dtype(dtype)?);
    let both = net.forward(&images, &Pass::along(&directions))?;
    assert_eq!(both.dims(), [2 * BATCH, 3]);
    let slopes = both.narrow(0, BATCH, BATCH)?;
    let factors = wave(slopes.dims(), 0.1)?.to_dtype(dtype)?;
    let grads = (&slopes * factors)?.sum_all()?.backward()?;
    let of = |var: &Var| flat(grads.get(var).expect("a gradient"));
    let second: Result<Vec<Vec<f64>>> = weights(net).into_iter().map(of).collect();
    let plain = net.forward(&images, &Pass::train(&Gates::NONE).without_statistics())?;
    let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-5 };
    close(&flat(&both.narrow(0, 0, BATCH)?)?, &flat(&plain)?, tolerance);
    Ok((flat(&slopes)?, second?.concat()))
}

#[track_caller]
fn close(found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() <= tolerance * largest, "{i}: {found} for {wanted}");
    }
}

#[test]
fn derivatives_agree_with_finite_differences() -> Result<()> {
    let net = Net::new(DType::F64)?;
    let (slopes, second) = along(&net, DType::F64)?;
    let step = 1e-6;
    let ((low, low_grads), (high, high_grads)) = (at(&net, -step)?, at(&net, step)?);
    let difference = |low: &[f64], high: &[f64]| -> Vec<f64> {
        low.iter().zip(high).map(|(low, high)| (high - low) / (2.0 * step)).collect()
    };
    close(&slopes, &difference(&low, &high), 1e-7);
    close(&second, &difference(&low_grads, &high_grads), 1e-6);
    // The kernels compute the same in f32, from rounded weights.
    let (slopes_f32, second_f32) = along(&Net::new(DType::F32)?, DType::F32)?;
    close(&slopes_f32, &slopes, 1e-5);
    close(&second_f32, &second, 1e-4);
    Ok(())
}

#[test]
fn running_statistics_do_not_change() -> Result<()> {
    let net = Net::new(DType::F64)?;
    along(&net, DType::F64)?;
    let of = |name: &str| flat(net.params.get(name).expect("a buffer").var.as_tensor());
    assert_eq!((of("norm.running_mean")?, of("norm.running_var")?), (vec![0.0; 4], vec![1.0; 4]));
    Ok(())
}

/// A layer that uses candle's own operations.
struct Own(Var, Params);

impl Model for Own {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let x = pass.enter("own", images.flatten_from(1)?)?;
        let weight = pass.weights(LayerId(0), &self.0, None)?.pruned()?;
        x.tensor()?.matmul(&weight.t()?)
    }

    fn params(&self) -> &Params {
        &self.1
    }
}

#[test]
fn layers_of_candle_and_directions_that_do_not_fit_are_errors() -> Result<()> {
    let scope = Scope::new(0, &Device::Cpu);
    let (var, _) =
        scope.weight("own.weight", (2, 3), ParamKind::LinearWeight, Init::Constant(1.0))?;
    let own = Own(var, scope.finish());
    let x = Tensor::ones((1, 3), DType::F32, &Device::Cpu)?;
    assert_eq!(flat(&own.forward(&x, &Pass::eval())?)?, [3.0, 3.0]);
    let direction = [Tensor::ones((2, 3), DType::F32, &Device::Cpu)?];
    let error = own.forward(&x, &Pass::along(&direction)).unwrap_err().to_string();
    assert!(error.contains("candle's own operations"), "{error}");

    let net = Net::new(DType::F64)?;
    let mut directions = directions(&net)?;
    let error = net.forward(&images()?, &Pass::along(&directions[..1])).unwrap_err().to_string();
    assert!(error.contains("given 1 directions, and layer 2 has none"), "{error}");
    directions[0] = directions[1].clone();
    let error = net.forward(&images()?, &Pass::along(&directions)).unwrap_err().to_string();
    assert!(
        error.contains("conv2d: the direction has shape [4, 2, 3, 3], but the weight"),
        "{error}"
    );
    Ok(())
}

#[test]
fn flow_is_the_sum_over_paths_without_biases_and_means() -> Result<()> {
    let scope = Scope::new(0, &Device::Cpu);
    let biased = ConvConfig::same(1).biased();
    let conv = Conv2d::new(&scope.pp("conv"), 1, 2, biased, Init::Constant(-7.0))?;
    let config = BatchNormConfig { eps: 0.25, ..BatchNormConfig::default() };
    let norm = BatchNorm::with_config(&scope.pp("norm"), 2, config)?;
    let linear = Linear::new(&scope.pp("linear"), 2, 1, Init::Uniform)?;
    let params = scope.finish();
    for (name, values) in [
        ("conv.bias", [5.0f32, 5.0]),
        ("norm.weight", [-3.0, 1.0]),
        ("norm.bias", [9.0, 9.0]),
        ("norm.running_mean", [4.0, -4.0]),
        ("norm.running_var", [2.0, 0.75]),
    ] {
        params.get(name).expect("a tensor").var.set(&Tensor::new(&values, &Device::Cpu)?)?;
    }
    let given = [
        Var::from_slice(&[2.0f64, 3.0], (2, 1, 1, 1), &Device::Cpu)?,
        Var::from_slice(&[0.5f64, 0.25], (1, 2), &Device::Cpu)?,
    ];
    let tensors = given.each_ref().map(|var| var.as_tensor().clone());
    let ones = Tensor::ones((1, 1, 2, 2), DType::F64, &Device::Cpu)?;
    let none = Gates::NONE;
    let pass = Pass::new(Mode::Flow(&tensors), &none);
    let x = relu(norm.forward(conv.forward(&ones, &pass)?, &pass)?)?;
    let flow = linear.forward(global_average(x)?, &pass)?.tensor()?;
    // 2·(3/1.5)·0.5 + 3·(1/1)·0.25
    assert_eq!(flat(&flow)?, [2.75]);
    let grads = flow.sum_all()?.backward()?;
    assert_eq!(flat(grads.get(&given[0]).expect("a gradient"))?, [1.0, 0.25]);
    assert_eq!(flat(grads.get(&given[1]).expect("a gradient"))?, [4.0, 3.0]);
    Ok(())
}
