//! A small network for 8×8 grey images.
//!
//! | layer | weight | output | weights | MACs |
//! | --- | --- | --- | --- | --- |
//! | conv1, bn1, ReLU | 16×1×3×3 | 16×8×8 | 144 | 9,216 |
//! | conv2 (stride 2), bn2, ReLU | 32×16×3×3 | 32×4×4 | 4,608 | 73,728 |
//! | conv3, bn3, ReLU | 64×32×3×3 | 64×4×4 | 18,432 | 294,912 |
//! | average, linear | 10×64 | 10 | 640 | 640 |
//!
//! For ten classes: 24,058 parameters, of which 23,824 are prunable, and 378,496 MACs.

use candle_core::{Result, Tensor};
use taper_nn::{
    Activation, BatchNorm, Conv2d, ConvConfig, Init, Linear, Model, Params, Pass, Scope,
    global_average, relu,
};

/// The network of the quick suite.
#[derive(Debug)]
pub struct DigitsCnn {
    blocks: Vec<(Conv2d, BatchNorm)>,
    linear: Linear,
    params: Params,
}

impl DigitsCnn {
    /// Builds it in `scope`, with `classes` outputs.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn new(scope: &Scope, classes: usize) -> Result<Self> {
        let widths = [(1, 16, 1), (16, 32, 2), (32, 64, 1)];
        let blocks = widths
            .iter()
            .zip(1..)
            .map(|(&(channels_in, channels_out, stride), i)| {
                let config = ConvConfig::same(3).stride(stride);
                let conv = scope.pp(format!("conv{i}"));
                Ok((
                    Conv2d::new(&conv, channels_in, channels_out, config, Init::FanOut)?,
                    BatchNorm::new(&scope.pp(format!("bn{i}")), channels_out)?,
                ))
            })
            .collect::<Result<_>>()?;
        let linear = Linear::new(&scope.pp("linear"), 64, classes, Init::Normal(0.01))?;
        Ok(Self { blocks, linear, params: scope.finish() })
    }
}

impl Model for DigitsCnn {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut x = Activation::from(images);
        for (conv, norm) in &self.blocks {
            x = relu(&norm.forward(&conv.forward(&x, pass)?, pass)?)?;
        }
        self.linear.forward(global_average(&x)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn counts_are_as_the_table_says() -> Result<()> {
        let params = DigitsCnn::new(&Scope::new(0, &Device::Cpu), 10)?.params;
        assert_eq!(params.n_params(), 24_058);
        assert_eq!(params.layers().iter().map(|l| l.n_weights()).sum::<u64>(), 23_824);
        Ok(())
    }
}
