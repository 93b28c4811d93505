//! Dual numbers: values with their derivatives along a direction of the weights (forward-mode differentiation).
//!
//! Values and derivatives have gradients. A backward pass after a forward pass on duals therefore gives second
//! derivatives. Sums over a batch use the kernels, because the order of candle's sums depends on the machine.

use super::{
    conv, norm, pool, relu,
    sums::{add_bias, plane_mean},
};
use crate::ConvConfig;
use candle_core::{Result, Tensor};
use taper_kernels::pool::MaxWindows;

/// A value and its derivative, of the same shape.
#[derive(Clone, Debug)]
pub(super) struct Dual {
    pub(super) value: Tensor,
    pub(super) slope: Tensor,
}

/// The weights of a layer: a weight, its direction, and a bias.
pub(super) struct DualWeights<'a> {
    pub(super) weight: &'a Tensor,
    pub(super) direction: &'a Tensor,
    pub(super) bias: Option<&'a Tensor>,
}

impl Dual {
    /// A value that does not depend on the weights.
    pub(super) fn constant(value: Tensor) -> Result<Self> {
        Ok(Self { slope: value.zeros_like()?, value })
    }

    /// Applies a linear operation.
    pub(super) fn each(&self, op: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { value: op(&self.value)?, slope: op(&self.slope)? })
    }

    /// Applies a linear operation to several duals.
    pub(super) fn all(parts: &[&Self], op: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self> {
        let values: Vec<&Tensor> = parts.iter().map(|part| &part.value).collect();
        let slopes: Vec<&Tensor> = parts.iter().map(|part| &part.slope).collect();
        Ok(Self { value: op(&values)?, slope: op(&slopes)? })
    }

    /// Applies an operation that is linear in the input and in the weight.
    fn product(
        &self,
        weights: &DualWeights,
        op: impl Fn(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Self> {
        let DualWeights { weight, direction, bias } = *weights;
        Ok(Self {
            value: op(&self.value, weight, bias)?,
            slope: (op(&self.slope, weight, None)? + op(&self.value, direction, None)?)?,
        })
    }

    pub(super) fn conv2d(&self, weights: &DualWeights, config: &ConvConfig) -> Result<Self> {
        self.product(weights, |x, weight, bias| conv::conv2d(x, weight, bias, config))
    }

    /// `x` is `[batch, in]`.
    pub(super) fn linear(&self, weights: &DualWeights) -> Result<Self> {
        self.product(weights, conv::linear)
    }

    /// Batch norm with the mean and variance of the batch, which have derivatives, too. Returns the result, the mean,
    /// and the unbiased variance.
    pub(super) fn batch_norm_train(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<(Self, Tensor, Tensor)> {
        let centred = |x: &Tensor, mean: &Tensor| add_bias(x, &mean.neg()?);
        let mean = channel_mean(&self.value)?;
        let value = centred(&self.value, &mean)?;
        let slope = centred(&self.slope, &channel_mean(&self.slope)?)?;
        let var = channel_mean(&value.sqr()?)?;
        let inverse_std = (&var + eps)?.sqrt()?.recip()?;
        let normed = scaled(&value, &inverse_std)?;
        // This term comes from the derivative of the variance, the covariance of value and slope.
        let shared = scaled(&normed, &channel_mean(&(&normed * &slope)?)?)?;
        let y = Self {
            value: add_bias(&scaled(&normed, weight)?, bias)?,
            slope: scaled(&scaled(&(slope - shared)?, &inverse_std)?, weight)?,
        };
        let count = (normed.elem_count() / var.elem_count().max(1)) as f64;
        let unbiased = (var.detach() * (count / (count - 1.0).max(1.0)))?;
        Ok((y, mean.detach(), unbiased))
    }

    /// Batch norm with constant statistics.
    pub(super) fn batch_norm_eval(
        &self,
        [weight, bias]: [&Tensor; 2],
        [mean, var]: [&Tensor; 2],
        eps: f64,
    ) -> Result<Self> {
        let (no_bias, no_mean) = (bias.zeros_like()?, mean.zeros_like()?);
        Ok(Self {
            value: norm::batch_norm_eval(&self.value, [weight, bias], [mean, var], eps)?,
            slope: norm::batch_norm_eval(&self.slope, [weight, &no_bias], [&no_mean, var], eps)?,
        })
    }

    pub(super) fn relu(&self) -> Result<Self> {
        let zeros = self.value.zeros_like()?;
        let is_positive = self.value.detach().gt(&zeros)?;
        Ok(Self {
            value: relu::relu(&self.value)?,
            slope: is_positive.where_cond(&self.slope, &zeros)?,
        })
    }

    pub(super) fn max_pool(&self, windows: MaxWindows, sizes: [usize; 2]) -> Result<Self> {
        self.each(|x| pool::at_largest(x, &self.value, windows, sizes))
    }

    /// The values, followed by their derivatives as further rows.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        Tensor::cat(&[&self.value, &self.slope], 0)
    }
}

/// Mean of each channel of `[batch, channels, height, width]`, `[channels]`.
fn channel_mean(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, ..) = x.dims4()?;
    let of_images = plane_mean(x)?.t()?.reshape((1, channels, batch, 1))?;
    plane_mean(&of_images)?.flatten_all()
}

/// `x` with each channel multiplied by its value in `by`, as a depthwise 1×1 convolution.
fn scaled(x: &Tensor, by: &Tensor) -> Result<Tensor> {
    let channels = by.elem_count();
    let config = ConvConfig::same(1).groups(channels);
    conv::conv2d(x, &by.reshape((channels, 1, 1, 1))?, None, &config)
}
