//! A step of SGD with momentum.

use super::{
    cpu, in_place,
    types::{self, wide},
    with_values,
};
use candle_core::{DType, Result, Tensor, Var};
use taper_kernels::sgd::{self, SgdStep};

/// Updates `var` with `grad`; see [`sgd::step`]. `velocity` is `None` before the first gradient, and is updated in
/// place from then on.
///
/// The first velocity is the gradient itself, without dampening. Weights in f16 and bf16 are updated in f32 and rounded
/// once. A step of less than half the distance to the neighbouring number does not change them.
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
    let before = velocity.as_ref().map(|before| ("velocity", before));
    let others: Vec<_> = before.into_iter().chain([("gradient", grad)]).collect();
    types::expect_shape("sgd", var, &others)?;
    let dampening = if velocity.is_none() { 0.0 } else { step.dampening };
    let step = SgdStep { dampening, ..step };
    if [var.as_tensor(), grad].iter().all(|t| cpu::has_kernels(t)) && var.is_contiguous() {
        let moved = match velocity {
            Some(before) => before,
            None => velocity.insert(grad.zeros_like()?),
        };
        return in_place::change("sgd", [var, moved], grad, |grad, [weights, velocity]| {
            sgd::step(step, grad, velocity, weights)
        });
    }
    let weights = wide(var)?;
    let mut slope = (wide(grad)? * step.factor)?;
    if step.decay != 0.0 {
        slope = (slope + (&weights * step.decay)?)?;
    }
    let mut moved = (&slope * (1.0 - step.dampening))?;
    if let Some(before) = velocity {
        moved = ((wide(before)? * step.momentum)? + moved)?;
    }
    let moved = moved.detach();
    let update = match step.nesterov {
        true => (slope.detach() + (&moved * step.momentum)?)?,
        false => moved.clone(),
    };
    var.set(&(weights - (update * step.lr)?)?.to_dtype(dtype)?)?;
    *velocity = Some(moved.to_dtype(dtype)?);
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
        let step = SgdStep {
            factor: 1.0,
            decay: 0.0,
            momentum: 0.5,
            dampening: 0.0,
            nesterov: false,
            lr: 1e-9,
        };
        let (grad, mut velocity) = (Tensor::new(&[0.1f64], &Device::Cpu)?, None);
        sgd_step(&var, &grad, &mut velocity, step)?;
        assert_eq!(var.to_vec1::<f64>()?, [1.0 - 0.1 * 1e-9]);
        let other = grad.to_dtype(DType::F32)?;
        let error = sgd_step(&var, &other, &mut velocity, step).unwrap_err().to_string();
        assert!(error.contains("the gradient is F32, but the variable is F64"), "{error}");
        Ok(())
    }

    #[test]
    fn the_first_velocity_is_not_dampened() -> Result<()> {
        let step = SgdStep {
            factor: 1.0,
            decay: 0.0,
            momentum: 0.5,
            dampening: 0.75,
            nesterov: false,
            lr: 1.0,
        };
        for dtype in [DType::F32, DType::F64] {
            let grad = Tensor::new(&[4.0f64], &Device::Cpu)?.to_dtype(dtype)?;
            let (var, mut velocity) = (Var::from_tensor(&grad.zeros_like()?)?, None);
            for wanted in [-4.0, -7.0] {
                sgd_step(&var, &grad, &mut velocity, step)?;
                assert_eq!(var.to_dtype(DType::F64)?.to_vec1::<f64>()?, [wanted], "{dtype:?}");
            }
        }
        Ok(())
    }
}
