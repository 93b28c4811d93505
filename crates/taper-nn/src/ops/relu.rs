//! ReLU on tensors.

use super::{cpu, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use taper_kernels::relu as kernel;

/// ReLU. The gradient at exactly 0 is 0, as in PyTorch. Candle's own ReLU passes the gradient at 0.
///
/// # Errors
/// If candle has no kernel for an operation on this device.
pub(super) fn relu(x: &Tensor) -> Result<Tensor> {
    if cpu::has_kernels(x) {
        return x.contiguous()?.apply_op1(Relu);
    }
    let zeros = x.zeros_like()?;
    x.detach().le(&zeros)?.where_cond(&zeros, x)
}

const NAME: &str = "relu";

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = cpu::slice(NAME, x, layout)?;
        let mut out = vec![0.0; x.len()];
        kernel::forward(x, &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, grad_out: &Tensor) -> Result<Option<Tensor>> {
        let mut grad = vec![0.0; x.elem_count()];
        with_values(&[out, grad_out], |v| kernel::backward(v[0], v[1], &mut grad))?;
        Ok(Some(Tensor::from_vec(grad, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    #[test]
    fn kernel_and_composed_path_agree_at_zero_too() -> Result<()> {
        let values = [-2.0f32, -0.0, 0.0, 0.5, 3.0];
        for dtype in [DType::F32, DType::F64] {
            let x = Var::from_tensor(&Tensor::new(&values, &Device::Cpu)?.to_dtype(dtype)?)?;
            let y = relu(&x)?;
            let grads = (&y * 2.0)?.sum_all()?.backward()?;
            let flat = |t: &Tensor| t.to_dtype(DType::F32)?.to_vec1::<f32>();
            assert_eq!(flat(&y)?, [0.0, 0.0, 0.0, 0.5, 3.0], "{dtype:?}");
            assert_eq!(
                flat(grads.get(&x).expect("a gradient"))?,
                [0.0, 0.0, 0.0, 2.0, 2.0],
                "{dtype:?}"
            );
        }
        Ok(())
    }
}
