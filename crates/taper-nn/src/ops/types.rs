//! The number types that operations support, and their compute types.

use candle_core::{DType, Result, Tensor};

/// Whether operations support tensors of this type.
pub(crate) fn is_supported(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
}

/// The common type of all tensors of an operation.
///
/// # Errors
/// If two differ, or the type is none of f16, bf16, f32 and f64.
pub(super) fn shared(op: &str, tensors: &[(&str, DType)]) -> Result<DType> {
    let [(name, dtype), others @ ..] = tensors else {
        candle_core::bail!("{op}: there are no tensors")
    };
    if !is_supported(*dtype) {
        candle_core::bail!(
            "{op}: the {name} is {dtype:?}; convert it to f16, bf16, f32 or f64 with `to_dtype`"
        )
    }
    if let Some((other, found)) = others.iter().find(|(_, found)| found != dtype) {
        candle_core::bail!(
            "{op}: the {other} is {found:?}, but the {name} is {dtype:?}; convert one of them with `to_dtype`"
        )
    }
    Ok(*dtype)
}

/// Checks that tensors have the shape of a variable.
///
/// # Errors
/// If one has another shape.
pub(super) fn expect_shape(op: &str, var: &Tensor, others: &[(&str, &Tensor)]) -> Result<()> {
    match others.iter().find(|(_, other)| other.dims() != var.dims()) {
        Some((name, other)) => {
            let (found, wanted) = (other.dims(), var.dims());
            candle_core::bail!(
                "{op}: the {name} has shape {found:?}, but the variable has {wanted:?}"
            )
        }
        None => Ok(()),
    }
}

/// The tensor in the compute type of composed operations: f64 for f64, f32 for all others. A sum in f16 or bf16 would
/// stop growing after a few hundred terms.
pub(super) fn wide(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F64 => Ok(tensor.clone()),
        _ => tensor.to_dtype(DType::F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimizers_refuse_tensors_of_another_shape() -> Result<()> {
        use crate::ops::{adamw_step, hyperbolic_step, sgd_step};
        use candle_core::{Device, Var};
        use taper_kernels::{adamw::AdamWStep, hyperbolic::HyperbolicStep, sgd::SgdStep};
        for dtype in [DType::F32, DType::F64] {
            let zeros = |dims: &[usize]| Tensor::zeros(dims, dtype, &Device::Cpu);
            let (var, grad) = (Var::from_tensor(&zeros(&[2, 3])?)?, zeros(&[3, 2])?);
            let step = SgdStep {
                factor: 1.0,
                decay: 0.0,
                momentum: 0.9,
                dampening: 0.0,
                nesterov: false,
                lr: 0.1,
            };
            let sgd = sgd_step(&var, &grad, &mut None, step);
            let state = &mut Some(zeros(&[6])?);
            let velocity = sgd_step(&var, &zeros(&[2, 3])?, state, step);
            let (betas, eps) = ([0.9, 0.999], 1e-8);
            let step = AdamWStep { factor: 1.0, decay: 0.0, betas, eps, lr: 0.1, number: 1 };
            let adamw = adamw_step(&var, &grad, &mut None, step);
            let step = HyperbolicStep { factor: 1.0, alpha: 1.0, beta: 0.0, lr: 0.1 };
            let hyperbolic = hyperbolic_step(&var, &grad, step);
            for (result, part) in [
                (sgd, "sgd: the gradient has shape [3, 2]"),
                (velocity, "sgd: the velocity has shape [6]"),
                (adamw, "adamw: the gradient has shape [3, 2]"),
                (hyperbolic, "hyperbolic step: the gradient has shape [3, 2]"),
            ] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            }
        }
        Ok(())
    }

    #[test]
    fn unsupported_and_mixed_types_are_errors_with_the_name() {
        let error = shared("relu", &[("input", DType::U8)]).unwrap_err().to_string();
        assert!(error.starts_with("relu: the input is U8; convert it"), "{error}");
        let mixed = [("input", DType::F32), ("weight", DType::F32), ("bias", DType::BF16)];
        let error = shared("conv2d", &mixed).unwrap_err().to_string();
        assert!(error.starts_with("conv2d: the bias is BF16, but the input is F32"), "{error}");
        assert_eq!(
            shared("add", &[("left", DType::F64), ("right", DType::F64)]).unwrap(),
            DType::F64
        );
    }
}
