//! Batch norm on tensors.

use super::{cpu, types::wide, with_values};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
use taper_kernels::norm::{self, NormShape, Stats};

/// The result of a batch norm with the statistics of the batch.
#[derive(Clone, Debug)]
pub(super) struct NormedTensor {
    /// The normalized activation, with a gradient.
    pub(super) y: Tensor,
    /// Mean of each channel, `[channels]`, without a gradient; in f32, or in f64 if `y` is.
    pub(super) mean: Tensor,
    /// Unbiased variance of each channel, in the form of the mean.
    pub(super) unbiased_var: Tensor,
}

/// Batch norm of `x` `[batch, channels, height, width]` with its own mean and biased variance per channel. `weight` and
/// `bias` have a value for each channel, checked by the caller.
pub(super) fn batch_norm_train(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<NormedTensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let count = (batch * height * width) as f64;
    let unbias = count / (count - 1.0).max(1.0);
    if cpu::has_kernels(x) && cpu::has_kernels(weight) {
        let x = x.contiguous()?;
        let shape = NormShape { batch, channels, pixels: height * width };
        let stats = with_values(&[&x], |v| norm::stats(&shape, v[0]))?;
        let mean = Tensor::new(&stats.mean[..], x.device())?;
        let unbiased_var = (Tensor::new(&stats.var[..], x.device())? * unbias)?;
        let y = x.apply_op3(weight, bias, BatchNormTrain { shape, stats, eps })?;
        return Ok(NormedTensor { y, mean, unbiased_var });
    }
    let (dtype, x) = (x.dtype(), wide(x)?);
    let mean = x.mean_keepdim((0, 2, 3))?;
    let centred = x.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    let normed = centred.broadcast_div(&(&var + eps)?.sqrt()?)?;
    let y = normed.broadcast_mul(&per_channel(weight)?)?.broadcast_add(&per_channel(bias)?)?;
    Ok(NormedTensor {
        y: y.to_dtype(dtype)?,
        mean: mean.flatten_all()?.detach(),
        unbiased_var: (var.flatten_all()?.detach() * unbias)?,
    })
}

/// Batch norm of `x` `[batch, channels, height, width]` with a constant mean and variance per channel.
pub(super) fn batch_norm_eval(
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    [mean, var]: [&Tensor; 2],
    eps: f64,
) -> Result<Tensor> {
    let (dtype, x) = (x.dtype(), wide(x)?);
    let constant = |t: &Tensor| per_channel(&t.detach())?.to_dtype(x.dtype());
    let scale = per_channel(weight)?.div(&(constant(var)? + eps)?.sqrt()?)?;
    let shift = (per_channel(bias)? - (constant(mean)? * &scale)?)?;
    x.broadcast_mul(&scale)?.broadcast_add(&shift)?.to_dtype(dtype)
}

/// A value per channel, in a shape that broadcasts to `[batch, channels, height, width]`.
fn per_channel(values: &Tensor) -> Result<Tensor> {
    wide(values)?.reshape((1, (), 1, 1))
}

/// About 1 where `x` is positive (less below the normal numbers) and 0 elsewhere, with a positive gradient where `x` is
/// positive. It shows whether a path reaches a value, and does not grow from layer to layer.
///
/// # Errors
/// If candle has no kernel for an operation on this device.
pub fn indicator(x: &Tensor) -> Result<Tensor> {
    let value = x.detach();
    let positive = value.gt(&value.zeros_like()?)?;
    // The inverse of a smaller number can be infinite.
    let smallest = match x.dtype() {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 1.0 / 16384.0,
        _ => f32::MIN_POSITIVE.into(),
    };
    let inverse = value.maximum(smallest)?.recip()?;
    let inverse = positive.where_cond(&inverse, &value.zeros_like()?)?;
    x * inverse
}

const NAME: &str = "batch-norm";

struct BatchNormTrain {
    shape: NormShape,
    stats: Stats,
    eps: f64,
}

impl CustomOp3 for BatchNormTrain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = cpu::slice(NAME, x, x_layout)?;
        let weight = cpu::slice(NAME, weight, weight_layout)?;
        let bias = cpu::slice(NAME, bias, bias_layout)?;
        let scale: Vec<f32> =
            self.stats.inverse_std(self.eps).iter().zip(weight).map(|(s, w)| s * w).collect();
        let shift: Vec<f32> =
            self.stats.mean.iter().zip(&scale).zip(bias).map(|((m, s), b)| b - m * s).collect();
        let mut y = vec![0.0; x.len()];
        norm::affine(&self.shape, x, &scale, &shift, &mut y);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        grad_y: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grads = with_values(&[x, weight, grad_y], |v| {
            norm::backward(&self.shape, v[0], &self.stats, self.eps, v[1], v[2])
        })?;
        Ok((
            Some(Tensor::from_vec(grads.x, x.dims(), x.device())?),
            Some(Tensor::from_vec(grads.weight, weight.dims(), weight.device())?),
            Some(Tensor::from_vec(grads.bias, bias.dims(), bias.device())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn statistics_of_bf16_values_are_computed_in_f32() -> Result<()> {
        // In bf16, a sum of 3200 ones would stop at 256.
        let x = Tensor::new(&[1.0f32, 3.0], &Device::Cpu)?.reshape((2, 1, 1, 1))?;
        let x = x.broadcast_as((2, 1, 40, 40))?.to_dtype(DType::BF16)?;
        let one = Tensor::ones(1, DType::BF16, &Device::Cpu)?;
        let normed = batch_norm_train(&x, &one, &one, 0.0)?;
        assert_eq!(normed.mean.to_vec1::<f32>()?, [2.0]);
        assert!((normed.unbiased_var.to_vec1::<f32>()?[0] - 3200.0 / 3199.0).abs() < 1e-6);
        let y = normed.y.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        assert!(y[..1600].iter().all(|&y| y == 0.0) && y[1600..].iter().all(|&y| y == 2.0));
        Ok(())
    }

    #[test]
    fn an_indicator_has_a_gradient_only_where_its_input_is_positive() -> Result<()> {
        let x = Var::from_tensor(&Tensor::new(&[0.0f64, 4.0, -1.0], &Device::Cpu)?)?;
        let y = indicator(&x)?;
        assert_eq!(y.to_vec1::<f64>()?, [0.0, 1.0, 0.0]);
        let grads = y.sum_all()?.backward()?;
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>()?, [0.0, 0.25, 0.0]);
        Ok(())
    }
}
