//! Where a model's parameters are named, initialised and registered.

use crate::params::{Entry, ParamKind, Params};
use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use std::sync::{Arc, Mutex, PoisonError};
use taper_core::{LayerId, rng::Rng};

/// How a weight starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with variance `2 / (out·kernel_h·kernel_w)`: Kaiming's rule on the outgoing side.
    FanOut,
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in `±1/√(in·kernel_h·kernel_w)`: what PyTorch gives convolutions and linear layers by default.
    Uniform,
    /// Uniform between minus this and this.
    Within(f64),
    /// The same value everywhere.
    Constant(f64),
}

impl Init {
    /// How the bias beside a weight starts that reads `fan_in` values: as PyTorch's default does beside its default
    /// weight, and at zero beside others.
    pub fn of_bias(self, fan_in: usize) -> Self {
        match self {
            Self::Uniform => Self::Within(1.0 / (fan_in as f64).sqrt()),
            _ => Self::Constant(0.0),
        }
    }
}

/// A path into a model under construction, as `self.layer1` is in PyTorch.
///
/// Each value depends on the seed and the parameter's full name alone, not on the order of construction.
#[derive(Clone, Debug)]
pub struct Scope {
    params: Arc<Mutex<Params>>,
    path: String,
    seed: u64,
    device: Device,
}

impl Scope {
    /// The root of a new model.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { params: Arc::default(), path: String::new(), seed, device: device.clone() }
    }

    /// The scope `name` below this one.
    #[must_use]
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { path: self.join(&name.to_string()), ..self.clone() }
    }

    /// All that was registered so far, in order.
    pub fn finish(&self) -> Params {
        self.params.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers a parameter.
    ///
    /// # Errors
    /// If memory or the device cannot hold it, or the name is taken.
    pub fn param(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        kind: ParamKind,
        init: Init,
    ) -> Result<Var> {
        let (name, shape) = (self.join(name), shape.into());
        let size = shape.dims().iter().try_fold(size_of::<f32>(), |n, &dim| n.checked_mul(dim));
        if size.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            candle_core::bail!("{name}: {:?} values are more than memory holds", shape.dims())
        }
        let var = Var::from_tensor(&Tensor::from_vec(
            self.values(&name, &shape, init),
            shape,
            &self.device,
        )?)?;
        self.register(Entry::param(name, kind, var.clone()))?;
        Ok(var)
    }

    /// Registers a prunable weight, and gives it the next [`LayerId`].
    pub(crate) fn weight(
        &self,
        shape: impl Into<Shape>,
        kind: ParamKind,
        init: Init,
    ) -> Result<(Var, LayerId)> {
        let id = LayerId(self.params.lock().unwrap_or_else(PoisonError::into_inner).layers().len());
        Ok((self.param("weight", shape, kind, init)?, id))
    }

    /// Registers a tensor that is saved but not trained.
    pub(crate) fn buffer(&self, name: &str, value: Tensor) -> Result<Var> {
        let var = Var::from_tensor(&value)?;
        self.register(Entry::buffer(self.join(name), var.clone()))?;
        Ok(var)
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The full path of this scope.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn register(&self, entry: Entry) -> Result<()> {
        self.params.lock().unwrap_or_else(PoisonError::into_inner).push(entry)
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    fn values(&self, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
        let dims = shape.dims();
        let receptive: usize = dims.iter().skip(2).product();
        let fan = |dim: usize| (dims.get(dim).copied().unwrap_or(1) * receptive) as f64;
        let mut rng = Rng::for_name(self.seed, name);
        let mut draw: Box<dyn FnMut() -> f64> = match init {
            Init::FanOut => {
                let std = (2.0 / fan(0)).sqrt();
                Box::new(move || rng.normal() * std)
            }
            Init::Normal(std) => Box::new(move || rng.normal() * std),
            Init::Uniform | Init::Within(_) => {
                let bound =
                    if let Init::Within(bound) = init { bound } else { 1.0 / fan(1).sqrt() };
                Box::new(move || (2.0 * rng.uniform() - 1.0) * bound)
            }
            Init::Constant(value) => Box::new(move || value),
        };
        (0..shape.elem_count()).map(|_| draw() as f32).collect()
    }
}

/// A zero-dimensional integer, as PyTorch's `num_batches_tracked` is.
pub(crate) fn counter(device: &Device) -> Result<Tensor> {
    Tensor::zeros((), DType::I64, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_values_depend_on_seed_and_name_alone() -> Result<()> {
        let value = |seed, path: &str, others: usize| -> Result<Vec<f32>> {
            let scope = Scope::new(seed, &Device::Cpu);
            for i in 0..others {
                scope.pp("other").pp(i).weight((2, 2), ParamKind::LinearWeight, Init::FanOut)?;
            }
            let (var, id) = scope.pp(path).weight((3, 2), ParamKind::LinearWeight, Init::FanOut)?;
            assert_eq!(id, LayerId(others));
            var.flatten_all()?.to_vec1()
        };
        assert_eq!(value(1, "a", 0)?, value(1, "a", 3)?);
        assert_ne!(value(1, "a", 0)?, value(2, "a", 0)?);
        assert_ne!(value(1, "a", 0)?, value(1, "b", 0)?);
        Ok(())
    }

    #[test]
    fn initial_spreads_follow_the_fans() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let spread = |name: &str, init| -> Result<f64> {
            let var = scope.param(name, (64, 32, 3, 3), ParamKind::ConvWeight, init)?;
            Ok(f64::from(var.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt())
        };
        assert!((spread("fan_out", Init::FanOut)? / (2.0f64 / 576.0).sqrt() - 1.0).abs() < 0.02);
        assert!(
            (spread("uniform", Init::Uniform)? / (1.0f64 / 288.0 / 3.0).sqrt() - 1.0).abs() < 0.02
        );
        assert_eq!(spread("constant", Init::Constant(1.0))?, 1.0);
        Ok(())
    }

    #[test]
    fn a_name_can_be_taken_once() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        scope.param("bias", 3, ParamKind::Bias, Init::Constant(0.0))?;
        let error = scope.param("bias", 3, ParamKind::Bias, Init::Constant(0.0)).unwrap_err();
        assert!(error.to_string().contains("bias"), "{error}");
        Ok(())
    }

    #[test]
    fn sizes_that_wrap_around_are_refused() {
        use crate::{Conv2d, ConvConfig, Linear};
        // Twice this is 2 modulo 2⁶⁴.
        let wraps = (1usize << (usize::BITS - 1)) + 1;
        let scope = Scope::new(0, &Device::Cpu);
        let conv = Conv2d::new(&scope.pp("conv"), 1, wraps, ConvConfig::same(2), Init::FanOut);
        let linear = Linear::new(&scope.pp("linear"), 2, wraps, Init::FanOut);
        for error in [conv.map(drop).unwrap_err(), linear.map(drop).unwrap_err()] {
            assert!(error.to_string().contains("more than memory holds"), "{error}");
        }
    }
}
