//! Operations that contain sums. They use the kernels, because the order of candle's sums depends on the machine.

use super::{cpu, types::wide, with_values};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use taper_kernels::{conv, pool};

/// `y + bias`, with a value for each channel of `y` `[batch, channels, …]`.
///
/// # Errors
/// If candle has no kernel for an operation on this device, or the channels do not match.
pub(super) fn add_bias(y: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let mut beside = vec![1; y.rank()];
    beside[1] = y.dim(1)?;
    let bias = bias.reshape(beside)?;
    if !(cpu::has_kernels(y) && cpu::has_kernels(&bias)) {
        return y.broadcast_add(&bias);
    }
    let pixels = y.dims()[2..].iter().product();
    y.contiguous()?.apply_op2(&bias.contiguous()?, AddBias { pixels })
}

/// Global average pooling: `[batch, channels, height, width]` to `[batch, channels]`.
///
/// # Errors
/// If `x` does not have four dimensions, or candle has no kernel for an operation on this device.
pub(super) fn plane_mean(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    if !cpu::has_kernels(x) {
        return wide(x)?.mean((2, 3))?.to_dtype(x.dtype());
    }
    x.contiguous()?.apply_op1(PlaneMean { pixels: height * width })
}

struct AddBias {
    pixels: usize,
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut out = cpu::slice(self.name(), y, layout)?.to_vec();
        conv::add_bias(self.pixels, cpu::slice(self.name(), bias, bias_layout)?, &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        _y: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut found = vec![0.0; bias.elem_count()];
        with_values(&[grad], |v| conv::grad_bias(self.pixels, v[0], &mut found))?;
        let grad_bias = Tensor::from_vec(found, bias.dims(), bias.device())?;
        Ok((Some(grad.clone()), Some(grad_bias)))
    }
}

struct PlaneMean {
    pixels: usize,
}

impl CustomOp1 for PlaneMean {
    fn name(&self) -> &'static str {
        "plane-mean"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = cpu::slice(self.name(), x, layout)?;
        let (batch, channels, ..) = layout.shape().dims4()?;
        let mut out = vec![0.0; batch * channels];
        pool::plane_means(self.pixels, x, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((batch, channels))))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (batch, channels, ..) = x.dims4()?;
        let share = (grad * (1.0 / self.pixels as f64))?.reshape((batch, channels, 1, 1))?;
        Ok(Some(share.broadcast_as(x.shape())?.contiguous()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// Compares values and gradients of the kernels (f32) with those of candle (f64).
    fn agree(f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<()> {
        let values = |n: usize| (0..n).map(|i| (i * 37 % 23) as f64 / 4.0).collect::<Vec<_>>();
        let run = |dtype: DType| -> Result<Vec<f64>> {
            let x = Tensor::from_vec(values(90), (2, 3, 3, 5), &Device::Cpu)?.to_dtype(dtype)?;
            let (x, bias) = (Var::from_tensor(&x)?, Tensor::from_vec(values(3), 3, &Device::Cpu)?);
            let bias = Var::from_tensor(&bias.to_dtype(dtype)?)?;
            let y = f(&x, &bias)?;
            let grads = (&y * &y)?.sum_all()?.backward()?;
            let mut all = vec![y];
            all.extend([&x, &bias].into_iter().filter_map(|var| grads.get(var).cloned()));
            let all = all.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
            Tensor::cat(&all, 0)?.to_dtype(DType::F64)?.to_vec1()
        };
        let (kernel, composed) = (run(DType::F32)?, run(DType::F64)?);
        assert_eq!(kernel.len(), composed.len());
        for (kernel, composed) in kernel.iter().zip(composed) {
            assert!((kernel - composed).abs() < 1e-5 * (1.0 + composed.abs()));
        }
        Ok(())
    }

    #[test]
    fn kernels_agree_with_candles_own_operations() -> Result<()> {
        agree(add_bias)?;
        agree(|x, bias| add_bias(&x.flatten_from(2)?.transpose(1, 2)?.narrow(1, 0, 3)?, bias))?;
        agree(|x, bias| add_bias(&x.narrow(2, 0, 1)?.narrow(3, 0, 1)?.flatten_from(1)?, bias))?;
        agree(|x, _| plane_mean(x))?;
        agree(|x, _| plane_mean(&x.transpose(2, 3)?))
    }

    #[test]
    fn a_bias_of_other_channels_is_an_error() -> Result<()> {
        let y = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        assert!(add_bias(&y, &Tensor::zeros(4, DType::F32, &Device::Cpu)?).is_err());
        Ok(())
    }
}
