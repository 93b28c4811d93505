//! Scopes: names, initial values and registration of a model's parameters.

use crate::{
    ops::is_supported,
    params::{Entry, ParamKind, Params, Tracking},
    source::Source,
};
use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use std::sync::{Arc, Mutex, PoisonError};
use taper_core::{LayerId, rng::Rng};

/// Initialization of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with variance `2 / (out·kernel_h·kernel_w)`: Kaiming initialization with fan-out.
    FanOut,
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in `±1/√(in·kernel_h·kernel_w)`: PyTorch's default for convolutions and linear layers.
    Uniform,
    /// Uniform between minus this value and this value.
    Within(f64),
    /// This value everywhere.
    Constant(f64),
}

impl Init {
    /// Initialization of the bias of a layer with this weight initialization and `fan_in` inputs per output: PyTorch's
    /// default for [`Uniform`](Self::Uniform), 0 otherwise.
    pub fn of_bias(self, fan_in: usize) -> Self {
        match self {
            Self::Uniform => Self::Within(1.0 / (fan_in as f64).sqrt()),
            _ => Self::Constant(0.0),
        }
    }
}

/// A path in a model under construction, like `self.layer1` in PyTorch.
///
/// Each initial value depends only on the seed and the parameter's full name, not on the order of construction.
///
/// The scope decides where the values of a layer come from: initial values, a checkpoint, or existing variables.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_nn::VarBuilder;
/// use std::collections::HashMap;
/// use taper_nn::{Init, Linear, Pass, Scope};
///
/// let device = Device::Cpu;
/// let fc = |scope: &Scope| Linear::without_bias(&scope.pp("fc"), 2, 1, Init::Uniform);
/// let values = Tensor::new(&[[1f32, 2.0]], &device)?;
/// let x = Tensor::new(&[[3f32, 4.0]], &device)?;
///
/// // From a checkpoint, read by a `VarBuilder`.
/// let tensors = HashMap::from([("fc.weight".to_string(), values.clone())]);
/// let vb = VarBuilder::from_tensors(tensors, DType::F32, &device);
/// let scope = Scope::new(0, &device).with_source(move |name, shape| {
///     vb.contains_tensor(name).then(|| vb.get(shape.clone(), name)).transpose()
/// });
/// assert_eq!(fc(&scope)?.forward(&x, &Pass::eval())?.tensor()?.to_vec2::<f32>()?, [[11.0]]);
///
/// // Around an existing variable.
/// let var = Var::from_tensor(&values)?;
/// let vars = HashMap::from([("fc.weight", var.clone())]);
/// let scope = Scope::new(0, &device)
///     .with_source(move |name, _| Ok(vars.get(name).map(|var| var.as_tensor().clone())));
/// let layer = fc(&scope)?;
/// var.set(&values.zeros_like()?)?;
/// assert_eq!(layer.forward(&x, &Pass::eval())?.tensor()?.to_vec2::<f32>()?, [[0.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scope {
    params: Arc<Mutex<Params>>,
    path: String,
    seed: u64,
    dtype: DType,
    device: Device,
    source: Option<Source>,
}

impl Scope {
    /// The root scope of a new model, with f32 parameters and initial values.
    pub fn new(seed: u64, device: &Device) -> Self {
        let (params, path, device) = (Arc::default(), String::new(), device.clone());
        Self { params, path, seed, dtype: DType::F32, device, source: None }
    }

    /// The same scope with parameters of another type: f16, bf16, f32 or f64. Initial values are the f32 values,
    /// rounded to this type. Layers need inputs of the type of their parameters. In types other than f32 they use
    /// candle's own operations.
    ///
    /// # Errors
    /// If `dtype` is none of these types.
    pub fn with_dtype(self, dtype: DType) -> Result<Self> {
        if !is_supported(dtype) {
            candle_core::bail!("layers do not support {dtype:?}; choose f16, bf16, f32 or f64")
        }
        Ok(Self { dtype, ..self })
    }

    /// The same scope with the values that `find` returns for a full name and a shape. A variable is used directly. Any
    /// other tensor is copied into a new variable with the type and device of the scope.
    ///
    /// It is an error if a parameter or a buffer has no value. Only integer buffers (counters) may be missing. For
    /// parts that start from initial values, see [`without_source`](Self::without_source).
    #[must_use]
    pub fn with_source(
        self,
        find: impl Fn(&str, &Shape) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Self {
        Self { source: Some(Source::new(find)), ..self }
    }

    /// The same scope without a source: parameters start from initial values.
    #[must_use]
    pub fn without_source(self) -> Self {
        Self { source: None, ..self }
    }

    /// The sub-scope `name` of this scope.
    #[must_use]
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { path: self.join(&name.to_string()), ..self.clone() }
    }

    /// All parameters and buffers registered so far, in order.
    pub fn finish(&self) -> Params {
        self.params.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers a parameter.
    ///
    /// # Errors
    /// If memory or the device cannot hold it, the name is taken, or a [source](Self::with_source) has no value that fits.
    pub fn param(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        kind: ParamKind,
        init: Init,
    ) -> Result<Var> {
        Ok(self.named_param(name, shape.into(), kind, init)?.0)
    }

    /// Registers a prunable weight. The first dimension is the outputs. Also returns its [`LayerId`], the index of its
    /// gate.
    ///
    /// # Errors
    /// As [`param`](Self::param), or if weights of this kind are not pruned.
    pub fn weight(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        kind: ParamKind,
        init: Init,
    ) -> Result<(Var, LayerId)> {
        if !kind.is_prunable() {
            let name = self.join(name);
            candle_core::bail!("{name}: {kind:?} cannot be pruned; register it with `Scope::param`")
        }
        self.named_param(name, shape.into(), kind, init)
    }

    /// Registers a buffer: a tensor that is saved but not trained. Without a source it starts with this value.
    ///
    /// # Errors
    /// As [`param`](Self::param).
    pub fn buffer(&self, name: &str, value: Tensor) -> Result<Var> {
        self.saved(name, value, None)
    }

    /// Registers a buffer that a layer updates with each batch of training.
    ///
    /// # Errors
    /// As [`param`](Self::param).
    pub fn statistic(&self, name: &str, value: Tensor, tracking: Tracking) -> Result<Var> {
        self.saved(name, value, Some(tracking))
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The full path of this scope: the name of the layer built in it.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn named_param(
        &self,
        name: &str,
        shape: Shape,
        kind: ParamKind,
        init: Init,
    ) -> Result<(Var, LayerId)> {
        let name = self.join(name);
        let value_size = self.dtype.size_in_bytes().max(size_of::<f32>());
        let size = shape.dims().iter().try_fold(value_size, |n, &dim| n.checked_mul(dim));
        if size.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            candle_core::bail!("{name}: {:?} values are more than memory holds", shape.dims())
        }
        let var = match self.found(&name, &shape, self.dtype)? {
            Some(var) => var,
            None => {
                let values = self.values(&name, &shape, init);
                let values = Tensor::from_vec(values, shape, &self.device)?;
                Var::from_tensor(&values.to_dtype(self.dtype)?)?
            }
        };
        let id = self.register(Entry::param(name, kind, var.clone()))?;
        Ok((var, id))
    }

    fn saved(&self, name: &str, value: Tensor, tracking: Option<Tracking>) -> Result<Var> {
        let name = self.join(name);
        let var = match self.found(&name, value.shape(), value.dtype())? {
            Some(var) => var,
            None => Var::from_tensor(&value)?,
        };
        self.register(Entry::buffer(name, tracking, var.clone()))?;
        Ok(var)
    }

    /// The variable from the source, if there is a source. Only counters may be missing.
    fn found(&self, name: &str, shape: &Shape, dtype: DType) -> Result<Option<Var>> {
        let Some(source) = &self.source else { return Ok(None) };
        let found = source.var(name, shape, dtype, &self.device)?;
        if found.is_none() && dtype.is_float() {
            candle_core::bail!(
                "{name}: the source has no value for it; provide one, or build this part with `Scope::without_source`"
            )
        }
        Ok(found)
    }

    /// Registers an entry, and returns the number of prunable weights before it.
    fn register(&self, entry: Entry) -> Result<LayerId> {
        let mut params = self.params.lock().unwrap_or_else(PoisonError::into_inner);
        let id = LayerId(params.trained().filter(|(_, kind)| kind.is_prunable()).count());
        params.push(entry)?;
        Ok(id)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_values_depend_only_on_seed_and_name() -> Result<()> {
        let value = |seed, path: &str, others: usize| -> Result<Vec<f32>> {
            let scope = Scope::new(seed, &Device::Cpu);
            for i in 0..others {
                let kind = ParamKind::LinearWeight;
                scope.pp("other").pp(i).weight("weight", (2, 2), kind, Init::FanOut)?;
                scope.pp("other").pp(i).param("bias", 2, ParamKind::Bias, Init::FanOut)?;
            }
            let kind = ParamKind::LinearWeight;
            let (var, id) = scope.pp(path).weight("weight", (3, 2), kind, Init::FanOut)?;
            assert_eq!(id, LayerId(others));
            var.flatten_all()?.to_vec1()
        };
        assert_eq!(value(1, "a", 0)?, value(1, "a", 3)?);
        assert_ne!(value(1, "a", 0)?, value(2, "a", 0)?);
        assert_ne!(value(1, "a", 0)?, value(1, "b", 0)?);
        Ok(())
    }

    #[test]
    fn initial_standard_deviations_follow_the_fans() -> Result<()> {
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
    fn a_name_can_be_used_once() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        scope.param("bias", 3, ParamKind::Bias, Init::Constant(0.0))?;
        let error = scope.param("bias", 3, ParamKind::Bias, Init::Constant(0.0)).unwrap_err();
        assert!(error.to_string().contains("bias"), "{error}");
        Ok(())
    }

    #[test]
    fn a_weight_must_be_of_a_prunable_kind() {
        let scope = Scope::new(0, &Device::Cpu).pp("norm");
        let error = scope.weight("weight", 3, ParamKind::NormWeight, Init::Constant(1.0));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("norm.weight: NormWeight cannot be pruned"), "{error}");
    }

    #[test]
    fn values_of_another_type_are_the_rounded_f32_values() -> Result<()> {
        let draw = |dtype| -> Result<Tensor> {
            let scope = Scope::new(7, &Device::Cpu).with_dtype(dtype)?;
            let var = scope.param("bias", 5, ParamKind::Bias, Init::Normal(1.0))?;
            assert_eq!((scope.dtype(), var.dtype()), (dtype, dtype));
            Ok(var.as_detached_tensor())
        };
        let single = draw(DType::F32)?;
        for dtype in [DType::F64, DType::BF16, DType::F16] {
            let (other, want) = (draw(dtype)?, single.to_dtype(dtype)?);
            let flat = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
            assert_eq!(flat(&other)?, flat(&want)?, "{dtype:?}");
        }
        let error = Scope::new(0, &Device::Cpu).with_dtype(DType::U8).unwrap_err().to_string();
        assert!(error.contains("layers do not support U8; choose f16"), "{error}");
        Ok(())
    }

    #[test]
    fn sizes_that_overflow_are_errors() {
        use crate::{Conv2d, ConvConfig, Linear};
        // Twice this number is 2 modulo 2⁶⁴.
        let wraps = (1usize << (usize::BITS - 1)) + 1;
        let scope = Scope::new(0, &Device::Cpu);
        let conv = Conv2d::new(&scope.pp("conv"), 1, wraps, ConvConfig::same(2), Init::FanOut);
        let linear = Linear::new(&scope.pp("linear"), 2, wraps, Init::FanOut);
        for error in [conv.map(drop).unwrap_err(), linear.map(drop).unwrap_err()] {
            assert!(error.to_string().contains("more than memory holds"), "{error}");
        }
    }
}
