//! A step of the optimizer.

use super::{cpu, with_values};
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var};
use std::cell::RefCell;
use taper_kernels::sgd::{self, SgdStep};

/// Moves `var` against `grad`; `velocity` is none before the first gradient, and changes in place from then on. See
/// [`sgd::step`].
///
/// # Errors
/// If the shapes differ, or candle fails to compute.
pub fn sgd_step(
    var: &Var,
    grad: &Tensor,
    velocity: &mut Option<Tensor>,
    step: SgdStep,
) -> Result<()> {
    if [var.as_tensor(), grad].iter().all(|t| cpu::has_kernels(t)) && var.is_contiguous() {
        let moved = match velocity {
            Some(before) => before,
            None => velocity.insert(grad.zeros_like()?),
        };
        var.inplace_op2(&grad.contiguous()?, &Move { velocity: moved, step })?;
        return Ok(());
    }
    let mut update = (grad * f64::from(step.factor))?;
    if step.decay != 0.0 {
        update = (update + (var.as_tensor() * f64::from(step.decay))?)?;
    }
    if let Some(before) = velocity {
        update = ((&*before * f64::from(step.momentum))? + update)?;
    }
    let update = update.detach();
    var.set(&(var.as_tensor() - (&update * f64::from(step.lr))?)?)?;
    *velocity = Some(update);
    Ok(())
}

/// Sum of the squares of a tensor's values, in f64.
///
/// # Errors
/// If a value cannot be read from its device.
pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
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
    use candle_core::{DType, Device};

    #[test]
    fn the_kernel_agrees_with_candles_own_operations() -> Result<()> {
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let tensor = |f: f32| {
                let values: Vec<f32> = (0..35).map(|i| (i as f32 * f).sin()).collect();
                Tensor::from_vec(values, (5, 7), &Device::Cpu)?.to_dtype(dtype)
            };
            let (var, mut velocity) = (Var::from_tensor(&tensor(0.7)?)?, None);
            let step = SgdStep { factor: 0.5, decay: 0.01, momentum: 0.9, lr: 0.1 };
            for f in [1.3, 0.2, 2.1] {
                sgd_step(&var, &tensor(f)?, &mut velocity, step)?;
            }
            var.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
        };
        for (kernel, composed) in run(DType::F32)?.iter().zip(run(DType::F64)?) {
            assert!((kernel - composed).abs() < 1e-6, "{kernel} {composed}");
        }
        Ok(())
    }
}
