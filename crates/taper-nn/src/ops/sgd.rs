//! A step of the optimizer.

use super::{
    cpu,
    types::{self, wide},
    with_values,
};
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var};
use std::cell::RefCell;
use taper_kernels::sgd::{self, SgdStep};

/// Moves `var` against `grad`; `velocity` is none before the first gradient, and changes in place from then on. See
/// [`sgd::step`].
///
/// Weights in f16 and bf16 are moved in f32 and rounded once; a step of less than half the distance to their neighbour
/// does not move them.
///
/// # Errors
/// If shapes or types differ, or candle fails to compute.
pub fn sgd_step(
    var: &Var,
    grad: &Tensor,
    velocity: &mut Option<Tensor>,
    step: SgdStep,
) -> Result<()> {
    let dtype = types::shared("sgd", &[("variable", var.dtype()), ("gradient", grad.dtype())])?;
    if [var.as_tensor(), grad].iter().all(|t| cpu::has_kernels(t)) && var.is_contiguous() {
        let moved = match velocity {
            Some(before) => before,
            None => velocity.insert(grad.zeros_like()?),
        };
        var.inplace_op2(&grad.contiguous()?, &Move { velocity: moved, step })?;
        return Ok(());
    }
    let weights = wide(var)?;
    let mut update = (wide(grad)? * step.factor)?;
    if step.decay != 0.0 {
        update = (update + (&weights * step.decay)?)?;
    }
    if let Some(before) = velocity {
        update = ((wide(before)? * step.momentum)? + update)?;
    }
    let update = update.detach();
    var.set(&(weights - (&update * step.lr)?)?.to_dtype(dtype)?)?;
    *velocity = Some(update.to_dtype(dtype)?);
    Ok(())
}

/// Sum of the squares of a tensor's values, in f64.
///
/// # Errors
/// If a value cannot be read from its device.
pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    if tensor.dtype() == DType::F64 {
        let values = tensor.flatten_all()?.to_vec1::<f64>()?;
        return Ok(values.iter().map(|v| v * v).sum());
    }
    with_values(&[tensor], |v| sgd::sum_of_squares(v[0]))
}

const NAME: &str = "sgd";

/// Candle's operations in place change one tensor: the weights here, and their velocity inside.
struct Move<'a> {
    velocity: &'a Tensor,
    step: SgdStep,
}

impl InplaceOp2 for Move<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        weights_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let grad = cpu::slice(NAME, grad, grad_layout)?;
        let weights = RefCell::new(cpu::slice_mut(NAME, weights, weights_layout)?);
        self.velocity.inplace_op1(&Both { weights, grad, step: self.step })
    }
}

struct Both<'a> {
    weights: RefCell<&'a mut [f32]>,
    grad: &'a [f32],
    step: SgdStep,
}

impl InplaceOp1 for Both<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, velocity: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let velocity = cpu::slice_mut(NAME, velocity, layout)?;
        sgd::step(self.step, self.grad, velocity, &mut self.weights.borrow_mut());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn large_numbers_in_f64_have_a_sum_of_squares() -> Result<()> {
        assert_eq!(sum_of_squares(&Tensor::new(&[3.0, -4e100f64], &Device::Cpu)?)?, 1.6e201);
        assert_eq!(sum_of_squares(&Tensor::new(&[3.0, -4.0f32], &Device::Cpu)?)?, 25.0);
        Ok(())
    }

    #[test]
    fn steps_in_f64_are_not_rounded_to_f32() -> Result<()> {
        let var = Var::from_tensor(&Tensor::new(&[1.0f64], &Device::Cpu)?)?;
        let step = SgdStep { factor: 1.0, decay: 0.0, momentum: 0.5, lr: 1e-9 };
        let (grad, mut velocity) = (Tensor::new(&[0.1f64], &Device::Cpu)?, None);
        sgd_step(&var, &grad, &mut velocity, step)?;
        assert_eq!(var.to_vec1::<f64>()?, [1.0 - 0.1 * 1e-9]);
        let other = grad.to_dtype(DType::F32)?;
        let error = sgd_step(&var, &other, &mut velocity, step).unwrap_err().to_string();
        assert!(error.contains("the gradient is F32, but the variable is F64"), "{error}");
        Ok(())
    }
}
