//! Values beside their derivatives along a direction of the weights: forward-mode differentiation.
//!
//! Both have gradients, so that a backward pass behind a forward pass over duals gives second derivatives. Sums over a batch are
//! those of the kernels, as candle takes its own in an order that depends on the machine.

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

/// What a layer computes with: a weight, its direction, and a bias.
pub(super) struct DualWeights<'a> {
    pub(super) weight: &'a Tensor,
    pub(super) direction: &'a Tensor,
    pub(super) bias: Option<&'a Tensor>,
}

impl Dual {
    /// A value that no weight changes.
    pub(super) fn constant(value: Tensor) -> Result<Self> {
        Ok(Self { slope: value.zeros_like()?, value })
    }

    /// What a linear operation gives.
    pub(super) fn each(&self, op: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { value: op(&self.value)?, slope: op(&self.slope)? })
    }

    /// What a linear operation of several gives.
    pub(super) fn all(parts: &[&Self], op: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self> {
        let values: Vec<&Tensor> = parts.iter().map(|part| &part.value).collect();
        let slopes: Vec<&Tensor> = parts.iter().map(|part| &part.slope).collect();
        Ok(Self { value: op(&values)?, slope: op(&slopes)? })
    }

    /// What an operation gives that is linear in input and weight.
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

    /// Normalises by the mean and variance of the batch, which have derivatives too: what it gives, the mean, and the
    /// unbiased variance.
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
        // The variance moves by what the slope has in common with the value.
        let shared = scaled(&normed, &channel_mean(&(&normed * &slope)?)?)?;
        let y = Self {
            value: add_bias(&scaled(&normed, weight)?, bias)?,
            slope: scaled(&scaled(&(slope - shared)?, &inverse_std)?, weight)?,
        };
        let count = (normed.elem_count() / var.elem_count().max(1)) as f64;
        let unbiased = (var.detach() * (count / (count - 1.0).max(1.0)))?;
        Ok((y, mean.detach(), unbiased))
    }

    /// Normalises by constants.
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

    /// The values, and as further rows their derivatives.
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

/// `x` with each channel times a value of its own: a convolution of each channel with one weight.
fn scaled(x: &Tensor, by: &Tensor) -> Result<Tensor> {
    let channels = by.elem_count();
    let config = ConvConfig::same(1).groups(channels);
    conv::conv2d(x, &by.reshape((channels, 1, 1, 1))?, None, &config)
}
