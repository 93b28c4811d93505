//! The source of values for a model under construction.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use std::{fmt, sync::Arc};

type Find = dyn Fn(&str, &Shape) -> Result<Option<Tensor>> + Send + Sync;

/// Finds tensors by their full names.
#[derive(Clone)]
pub(crate) struct Source(Arc<Find>);

impl Source {
    pub(crate) fn new(
        find: impl Fn(&str, &Shape) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(find))
    }

    /// The variable of this name, or a new variable with the values of the tensor of this name. `None` if there is
    /// neither.
    ///
    /// # Errors
    /// If the tensor has another shape, or is a variable of another type or device.
    pub(crate) fn var(
        &self,
        name: &str,
        shape: &Shape,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Var>> {
        let Some(tensor) = (self.0)(name, shape)? else { return Ok(None) };
        if tensor.shape() != shape {
            let (found, wanted) = (tensor.dims(), shape.dims());
            candle_core::bail!(
                "{name}: the source has shape {found:?}, but the model has {wanted:?}"
            )
        }
        if !tensor.is_variable() {
            return Var::from_tensor(&tensor.to_device(device)?.to_dtype(dtype)?).map(Some);
        }
        if tensor.dtype() != dtype || !tensor.device().same_device(device) {
            let (of, on) = (tensor.dtype(), tensor.device().location());
            candle_core::bail!(
                "{name}: the variable is {of:?} on {on:?}, but the model has {dtype:?} on {:?}; \
                 build the scope with its type and device, or pass a tensor, which is converted",
                device.location()
            )
        }
        Var::from_tensor(&tensor).map(Some)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Source")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, ParamKind, Scope};

    fn scope(value: &Tensor) -> Scope {
        let value = value.clone();
        Scope::new(0, &Device::Cpu)
            .with_source(move |name, _| Ok((name == "fc.weight").then(|| value.clone())))
    }

    fn weight(scope: &Scope) -> Result<Var> {
        let kind = ParamKind::LinearWeight;
        Ok(scope.pp("fc").weight("weight", (1, 2), kind, Init::FanOut)?.0)
    }

    #[test]
    fn a_variable_is_used_directly_and_a_tensor_is_copied_and_converted() -> Result<()> {
        let value = Tensor::new(&[[1.0f32, 2.0]], &Device::Cpu)?;
        let var = Var::from_tensor(&value)?;
        assert_eq!(weight(&scope(&var))?.id(), var.id());
        let copy = weight(&scope(&value))?;
        copy.set(&Tensor::new(&[[5.0f32, 6.0]], &Device::Cpu)?)?;
        assert_eq!(value.to_vec2::<f32>()?, [[1.0, 2.0]]);
        let double = scope(&value).with_dtype(DType::F64)?;
        assert_eq!(weight(&double)?.to_vec2::<f64>()?, [[1.0, 2.0]]);
        Ok(())
    }

    #[test]
    fn values_that_do_not_fit_are_errors_with_the_name() -> Result<()> {
        let value = Tensor::new(&[[1.0f32, 2.0]], &Device::Cpu)?;
        let refused = |scope: Scope, message: &str| {
            let error = weight(&scope).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        };
        refused(
            scope(&value.t()?),
            "fc.weight: the source has shape [2, 1], but the model has [1, 2]",
        );
        let var = Var::from_tensor(&value)?;
        refused(scope(&var).with_dtype(DType::BF16)?, "fc.weight: the variable is F32 on Cpu");
        refused(scope(&value).pp("head"), "head.fc.weight: the source has no value");
        weight(&scope(&value).pp("head").without_source())?;
        let broken = Scope::new(0, &Device::Cpu).with_source(|_, _| candle_core::bail!("broken"));
        refused(broken, "broken");
        Ok(())
    }

    #[test]
    fn counters_may_be_missing_but_statistics_may_not() -> Result<()> {
        let scope = scope(&Tensor::zeros(1, DType::F32, &Device::Cpu)?);
        let counter = scope.buffer("n", Tensor::new(3i64, &Device::Cpu)?)?;
        assert_eq!(counter.to_scalar::<i64>()?, 3);
        assert!(scope.buffer("mean", Tensor::zeros(1, DType::F32, &Device::Cpu)?).is_err());
        Ok(())
    }
}
