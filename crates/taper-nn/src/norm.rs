//! Batch normalization layer.

use crate::{Activation, Init, Mode, ParamKind, Pass, Scope, Tracking, ops};
use candle_core::{DType, Device, Result, Tensor, Var};

/// Configuration of a batch norm. The defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Added to the variance before the square root, at least 0.
    pub eps: f64,
    /// Weight of a batch's statistics in the update of the running statistics, in `[0, 1]`.
    pub momentum: f64,
    /// Whether the layer has a weight and a bias. Otherwise they are 1 and 0.
    pub affine: bool,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1, affine: true }
    }
}

/// Batch normalization of `[batch, channels, height, width]`, like PyTorch's `BatchNorm2d`.
///
/// In training it uses the mean and the biased variance of the batch, and updates the running mean and variance
/// (unbiased) with the momentum. In evaluation it uses the running statistics. These are f32, or f64 if the parameters
/// are.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_nn::{BatchNorm, BatchNormConfig, Pass, Scope};
///
/// let scope = Scope::new(0, &Device::Cpu);
/// let config = BatchNormConfig { eps: 1e-3, affine: false, ..BatchNormConfig::default() };
/// let norm = BatchNorm::with_config(&scope.pp("bn"), 1, config)?;
/// assert_eq!(scope.finish().n_params(), 0);
/// let x = Tensor::new(&[[[[2f32]]]], &Device::Cpu)?;
/// let y = norm.forward(&x, &Pass::eval())?.tensor()?.flatten_all()?.to_vec1::<f32>()?;
/// assert!((y[0] - 2.0 / 1.001f32.sqrt()).abs() < 1e-6); // the running mean is 0, the variance 1
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm {
    name: String,
    /// Parameters, or constants.
    weight: Tensor,
    bias: Tensor,
    running_mean: Var,
    running_var: Var,
    n_batches: Var,
    config: BatchNormConfig,
}

impl BatchNorm {
    /// Registers weight, bias, and the running statistics in `scope`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Self::with_config(scope, channels, BatchNormConfig::default())
    }

    /// Like [`new`](Self::new), with another configuration.
    ///
    /// # Errors
    /// As [`Scope::param`], or if `config` is out of range.
    pub fn with_config(scope: &Scope, channels: usize, config: BatchNormConfig) -> Result<Self> {
        let BatchNormConfig { eps, momentum, affine } = config;
        let name = scope.path().to_string();
        if !(eps.is_finite() && eps >= 0.0) {
            candle_core::bail!("{name}: eps is {eps}; it must be finite and at least 0")
        }
        if !(0.0..=1.0).contains(&momentum) {
            candle_core::bail!("{name}: momentum is {momentum}; it must be from 0 to 1")
        }
        let (dtype, device) = (scope.dtype(), scope.device());
        let [weight, bias] = match affine {
            true => {
                let weight = ("weight", ParamKind::NormWeight, 1.0);
                let bias = ("bias", ParamKind::NormBias, 0.0);
                [weight, bias].map(|(name, kind, value)| {
                    let var = scope.param(name, channels, kind, Init::Constant(value))?;
                    Ok(var.as_tensor().clone())
                })
            }
            false => [1.0, 0.0].map(|value| filled(value, channels, dtype, device)),
        };
        let average = Tracking::Average(momentum);
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let statistic = |name: &str, value: f64| {
            scope.statistic(name, filled(value, channels, wide, device)?, average)
        };
        let n_batches = Tensor::zeros((), DType::I64, device)?;
        Ok(Self {
            name,
            weight: weight?,
            bias: bias?,
            running_mean: statistic("running_mean", 0.0)?,
            running_var: statistic("running_var", 1.0)?,
            n_batches: scope.statistic("num_batches_tracked", n_batches, Tracking::Count)?,
            config,
        })
    }

    /// Applies the layer to `x`.
    ///
    /// # Errors
    /// If `x` has the wrong number of channels.
    pub fn forward(&self, x: impl Into<Activation>, pass: &Pass) -> Result<Activation> {
        let x = pass.enter(&self.name, x)?;
        let params = ops::NormParams {
            weight: &self.weight,
            bias: &self.bias,
            eps: self.config.eps,
            is_tracked: pass.tracks_gradients(),
        };
        let y = match pass.mode() {
            Mode::Train => {
                let normed = ops::batch_norm_train(&x, &params)?;
                if pass.tracks_statistics() {
                    self.track(&normed.mean, &normed.unbiased_var)?;
                }
                normed.y
            }
            Mode::Eval => ops::batch_norm_eval(&x, &params, &self.running_mean, &self.running_var)?,
            Mode::Paths(_) => ops::indicator(&x.tensor()?)?.into(),
            Mode::Flow(_) => self.flow(&x, pass)?,
        };
        pass.report(&self.name, None, &y, 0)?;
        Ok(y)
    }

    /// `x·|γ|/√(variance + ε)`, in the type and on the device of `x`.
    fn flow(&self, x: &Activation, pass: &Pass) -> Result<Activation> {
        let tensor = x.tensor()?;
        let like = |t: &Tensor| t.to_device(tensor.device())?.to_dtype(tensor.dtype());
        let (weight, var) = (like(&self.weight.abs()?)?, like(&self.running_var)?);
        let zeros = weight.zeros_like()?;
        let (eps, is_tracked) = (self.config.eps, pass.tracks_gradients());
        let params = ops::NormParams { weight: &weight, bias: &zeros, eps, is_tracked };
        ops::batch_norm_eval(x, &params, &zeros, &var)
    }

    fn track(&self, mean: &Tensor, unbiased_var: &Tensor) -> Result<()> {
        let momentum = self.config.momentum;
        for (running, batch) in [(&self.running_mean, mean), (&self.running_var, unbiased_var)] {
            let moved = ((running.as_tensor() * (1.0 - momentum))? + (batch * momentum)?)?;
            running.set(&moved.detach())?;
        }
        let counted =
            (self.n_batches.as_tensor() + Tensor::ones((), DType::I64, self.n_batches.device())?)?;
        self.n_batches.set(&counted.detach())
    }
}

/// A tensor with the same value for every channel.
fn filled(value: f64, channels: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    Tensor::full(value as f32, channels, device)?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gates;
    use candle_core::Device;

    #[test]
    fn running_statistics_follow_the_batches() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let norm = BatchNorm::new(&scope.pp("bn"), 1)?;
        let x = Tensor::new(&[1.0f32, 3.0], &Device::Cpu)?.reshape((2, 1, 1, 1))?;
        let y = norm
            .forward(&x, &Pass::train(&Gates::NONE))?
            .tensor()?
            .flatten_all()?
            .to_vec1::<f32>()?;
        assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4, "{y:?}");
        let value = |name: &str| scope.finish().get(name).unwrap().var.flatten_all().unwrap();
        assert!((value("bn.running_mean").to_vec1::<f32>()?[0] - 0.2).abs() < 1e-6);
        // The unbiased variance of 1 and 3 is 2.
        assert!((value("bn.running_var").to_vec1::<f32>()?[0] - 1.1).abs() < 1e-6);
        assert_eq!(value("bn.num_batches_tracked").to_vec1::<i64>()?, [1]);
        norm.forward(&x, &Pass::eval())?;
        assert_eq!(value("bn.num_batches_tracked").to_vec1::<i64>()?, [1]);
        Ok(())
    }

    #[test]
    fn every_option_has_its_effect() -> Result<()> {
        let values = [1.0f64, 3.0, 2.0, 6.0, -1.0, 5.0, 0.0, 8.0];
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let x = Tensor::new(&values, &Device::Cpu)?.reshape((8, 1, 1, 1))?.to_dtype(dtype)?;
            for affine in [true, false] {
                let scope = Scope::new(0, &Device::Cpu).with_dtype(dtype)?;
                let config = BatchNormConfig { eps: 0.5, momentum: 0.25, affine };
                let norm = BatchNorm::with_config(&scope.pp("bn"), 1, config)?;
                let params = scope.finish();
                assert_eq!(params.trained().count(), if affine { 2 } else { 0 });
                let y = norm.forward(&x, &Pass::train(&Gates::NONE))?.tensor()?;
                assert_eq!(y.dtype(), dtype);
                let y = y.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                // The mean is 3, the sum of squares around it 68.
                let precision = if dtype == DType::BF16 { 0.01 } else { 1e-6 };
                for (y, v) in y.iter().zip(values) {
                    let want = (v - 3.0) / (68.0f64 / 8.0 + 0.5).sqrt();
                    assert!((y - want).abs() < precision, "{dtype:?}: {y} for {want}");
                }
                let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
                let at = |name: &str| -> Result<f64> {
                    let entry = params.get(name).expect("a statistic");
                    assert_eq!(entry.var.dtype(), wide);
                    assert_eq!(entry.tracking, Some(Tracking::Average(0.25)));
                    Ok(entry.var.to_dtype(DType::F64)?.to_vec1::<f64>()?[0])
                };
                assert!((at("bn.running_mean")? - 0.75).abs() < 1e-6);
                assert!((at("bn.running_var")? - (0.75 + 68.0 / 7.0 / 4.0)).abs() < 1e-6);
                let y = norm.forward(&x, &Pass::eval())?.tensor()?.flatten_all()?;
                let y = y.to_dtype(DType::F64)?.to_vec1::<f64>()?[3];
                let want = (6.0 - 0.75) / (0.75 + 68.0 / 7.0 / 4.0 + 0.5f64).sqrt();
                assert!((y - want).abs() < 4.0 * precision, "{dtype:?}: {y} for {want}");
            }
        }
        Ok(())
    }

    #[test]
    fn options_out_of_range_are_errors() {
        let build = |eps, momentum| {
            let scope = Scope::new(0, &Device::Cpu).pp("bn1");
            let config = BatchNormConfig { eps, momentum, affine: true };
            BatchNorm::with_config(&scope, 1, config).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(build(0.0, 0.0), Ok(()));
        assert_eq!(build(1.0, 1.0), Ok(()));
        for (eps, momentum, message) in [
            (-1e-5, 0.1, "bn1: eps is -0.00001; it must be finite and at least 0"),
            (f64::NAN, 0.1, "bn1: eps is NaN"),
            (f64::INFINITY, 0.1, "bn1: eps is inf"),
            (1e-5, 1.5, "bn1: momentum is 1.5; it must be from 0 to 1"),
            (1e-5, f64::NAN, "bn1: momentum is NaN"),
        ] {
            let error = build(eps, momentum).expect_err(message);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
