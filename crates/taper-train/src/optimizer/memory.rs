//! The state of optimizers: saving, restoring and resetting it.

use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use taper_kernels::mask::Mask;
use taper_nn::{
    Params,
    ops::{tensor_like, with_values},
};
use taper_prune::Momentum;

/// The state of an optimizer between two steps, as named values. Names may contain `/`.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// Tensors of f64, f32, f16, bf16, i64, u32 or u8.
    pub tensors: BTreeMap<String, Tensor>,
    /// Numbers.
    pub numbers: BTreeMap<String, f64>,
}

impl OptimizerState {
    /// Whether the state has no values.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty() && self.numbers.is_empty()
    }

    /// Adds a copy of each tensor as `what/NAME`. `of_each` has one entry for each trained parameter, in registry
    /// order; `None` adds nothing.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn put<'a>(
        &mut self,
        what: &str,
        params: &Params,
        of_each: impl IntoIterator<Item = Option<&'a Tensor>>,
    ) -> Result<()> {
        for ((entry, _), tensor) in params.trained().zip(of_each) {
            if let Some(tensor) = tensor {
                // A copy, because later steps change the tensors in place.
                self.tensors.insert(format!("{what}/{}", entry.name), tensor.copy()?);
            }
        }
        Ok(())
    }

    /// Returns copies of the tensors that [`put`](Self::put) added, with the device and type of each parameter.
    ///
    /// # Errors
    /// If a tensor and its parameter differ in shape, or a tensor cannot be copied.
    pub fn take(&self, what: &str, params: &Params) -> Result<Vec<Option<Tensor>>> {
        params.trained().map(|(entry, _)| self.take_one(what, &entry.name, &entry.var)).collect()
    }

    fn take_one(&self, what: &str, name: &str, var: &Tensor) -> Result<Option<Tensor>> {
        let Some(saved) = self.tensors.get(&format!("{what}/{name}")) else { return Ok(None) };
        let (found, wanted) = (saved.dims(), var.dims());
        if found != wanted {
            candle_core::bail!(
                "{what} of {name} has shape {found:?} where the model has {wanted:?}"
            )
        }
        Ok(Some(saved.to_device(var.device())?.to_dtype(var.dtype())?.copy()?))
    }
}

/// Sets the state of some weights to 0. `weights` has a mask for each prunable layer. `of_each` has a state tensor for
/// each trained parameter, in registry order.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use taper_kernels::mask::Mask;
/// use taper_nn::{Init, ParamKind, Scope};
/// use taper_train::forget_at;
///
/// let scope = Scope::new(0, &Device::Cpu);
/// scope.param("bias", 3, ParamKind::Bias, Init::Constant(0.0))?;
/// scope.param("weight", (1, 3), ParamKind::LinearWeight, Init::Constant(0.0))?;
/// let velocity = Tensor::ones((1, 3), DType::F32, &Device::Cpu)?;
/// let mut of_each = [None, Some(velocity)];
/// let mut second = Mask::empty(3);
/// second.set(1, true);
/// forget_at(&scope.finish(), &mut of_each, &[second])?;
/// assert_eq!(of_each[1].as_ref().unwrap().to_vec2::<f32>()?, [[1.0, 0.0, 1.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If a mask has more weights than its layer, or a tensor cannot be read from its device, or written to it.
pub fn forget_at<'a>(
    params: &Params,
    of_each: impl IntoIterator<Item = &'a mut Option<Tensor>>,
    weights: &[Mask],
) -> Result<()> {
    let trained = params.trained().zip(of_each);
    let prunable = trained.filter(|((_, kind), _)| kind.is_prunable());
    for (((entry, _), remembered), weights) in prunable.zip(weights) {
        let Some(moving) = remembered.as_ref().filter(|_| weights.n_kept() > 0) else { continue };
        if weights.len() != moving.elem_count() {
            candle_core::bail!(
                "the mask of weights to reset has {} weights, but {} has {}",
                weights.len(),
                entry.name,
                moving.elem_count()
            )
        }
        let mut values = with_values(&[moving], |v| v[0].to_vec())?;
        weights.kept().for_each(|index| values[index] = 0.0);
        let stopped = tensor_like(values, moving)?;
        *remembered = Some(stopped);
    }
    Ok(())
}

/// Sets the momentum of some weights of each prunable layer. `of_each` has a state tensor for each trained parameter,
/// in registry order. A missing tensor starts as zeros.
///
/// # Errors
/// If the number of values and of weights differ, or a tensor cannot be read from its device, or written to it.
pub fn remember_at<'a>(
    params: &Params,
    of_each: impl IntoIterator<Item = &'a mut Option<Tensor>>,
    weights: &[Momentum],
) -> Result<()> {
    let trained = params.trained().zip(of_each);
    let prunable = trained.filter(|((_, kind), _)| kind.is_prunable());
    for (((entry, _), remembered), Momentum { weights, values }) in prunable.zip(weights) {
        let (n, n_set) = (entry.var.elem_count(), weights.n_kept());
        if weights.len() != n || values.len() as u64 != n_set {
            candle_core::bail!(
                "a momentum has {} values for {n_set} of the {n} weights of {}; each weight needs one value",
                values.len(),
                entry.name
            )
        }
        if n_set == 0 {
            continue;
        }
        let moving = match remembered.take() {
            Some(moving) => moving,
            None => entry.var.zeros_like()?,
        };
        let mut all = with_values(&[&moving], |v| v[0].to_vec())?;
        weights.kept().zip(values).for_each(|(index, value)| all[index] = *value);
        *remembered = Some(tensor_like(all, &moving)?);
    }
    Ok(())
}
