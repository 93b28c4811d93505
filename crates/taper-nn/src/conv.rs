//! Convolution layer.

use crate::{Activation, ConvConfig, Init, ParamKind, Pass, Scope, ops};
use candle_core::{Result, Var};
use taper_core::LayerId;

/// Convolution of `[batch, in, height, width]` with a weight `[out, in / groups, kernel, kernel]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    name: String,
    id: LayerId,
    weight: Var,
    bias: Option<Var>,
    config: ConvConfig,
}

impl Conv2d {
    /// Registers `weight`, and `bias` if `config` has one ([`Init::of_bias`]), in `scope`.
    ///
    /// # Errors
    /// If the name is taken, or the groups do not divide both numbers of channels.
    pub fn new(
        scope: &Scope,
        channels_in: usize,
        channels_out: usize,
        config: ConvConfig,
        init: Init,
    ) -> Result<Self> {
        let ConvConfig { kernel, groups, .. } = config;
        if groups == 0
            || !channels_in.is_multiple_of(groups)
            || !channels_out.is_multiple_of(groups)
        {
            candle_core::bail!(
                "{}: the number of groups is {groups}; it must be at least 1 and divide both {channels_in} input and \
                 {channels_out} output channels",
                scope.path()
            )
        }
        let shape = (channels_out, channels_in / groups, kernel, kernel);
        let (weight, id) = scope.weight("weight", shape, ParamKind::ConvWeight, init)?;
        let start = init.of_bias(channels_in / groups * kernel * kernel);
        let bias = config
            .bias
            .then(|| scope.param("bias", channels_out, ParamKind::Bias, start))
            .transpose()?;
        Ok(Self { name: scope.path().to_string(), id, weight, bias, config })
    }

    /// Convolves `x`.
    ///
    /// # Errors
    /// If `x` has the wrong number of channels, or is smaller than the kernel.
    pub fn forward(&self, x: impl Into<Activation>, pass: &Pass) -> Result<Activation> {
        let weights = pass.weights(self.id, &self.weight, self.bias.as_ref())?;
        let y = ops::conv2d(&pass.enter(&self.name, x)?, &weights, &self.config)?;
        let pixels: usize = y.dims().iter().skip(2).product();
        pass.report(&self.name, Some(self.id), &y, (self.weight.elem_count() * pixels) as u64)?;
        Ok(y)
    }
}
