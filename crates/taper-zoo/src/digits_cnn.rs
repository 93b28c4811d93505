//! A small network for 8×8 grayscale images.
//!
//! | layer | weight | output | weights | MACs |
//! | --- | --- | --- | --- | --- |
//! | conv1, bn1, ReLU | 16×1×3×3 | 16×8×8 | 144 | 9,216 |
//! | conv2 (stride 2), bn2, ReLU | 32×16×3×3 | 32×4×4 | 4,608 | 73,728 |
//! | conv3, bn3, ReLU | 64×32×3×3 | 64×4×4 | 18,432 | 294,912 |
//! | global average pooling, linear | 10×64 | 10 | 640 | 640 |
//!
//! For ten classes: 24,058 parameters, of which 23,824 are prunable, and 378,496 MACs.

use crate::Width;
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
    /// Builds the network in `scope`, with `classes` outputs.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn new(scope: &Scope, classes: usize) -> Result<Self> {
        Self::of_width(scope, classes, Width::FULL)
    }

    /// Builds a narrower or wider network.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn of_width(scope: &Scope, classes: usize, width: Width) -> Result<Self> {
        let [first, second, third] = [16, 32, 64].map(|full| width.of(full));
        let widths = [(1, first, 1), (first, second, 2), (second, third, 1)];
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
        let linear = Linear::new(&scope.pp("linear"), third, classes, Init::Normal(0.01))?;
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
    use candle_core::{DType, Device};
    use taper_nn::Gates;

    fn logits(model: &dyn Model, dtype: DType) -> Result<Vec<f32>> {
        let pixels = (0..8 * 64).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let images = Tensor::from_vec(pixels, (8, 1, 8, 8), &Device::Cpu)?.to_dtype(dtype)?;
        let y = model.forward(&images, &Pass::eval())?;
        assert_eq!(y.dtype(), dtype);
        y.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }

    /// A network after one training forward pass, which moves its running statistics.
    fn trained() -> Result<DigitsCnn> {
        let model = DigitsCnn::new(&Scope::new(3, &Device::Cpu), 10)?;
        let images = Tensor::rand(0f32, 1.0, (8, 1, 8, 8), &Device::Cpu)?;
        model.forward(&images, &Pass::train(&Gates::NONE))?;
        Ok(model)
    }

    #[test]
    fn values_of_another_network_are_copied_by_name() -> Result<()> {
        let model = trained()?;
        let params = model.params.clone();
        let scope = Scope::new(0, &Device::Cpu).with_source(move |name, _| {
            Ok(params.get(name).map(|entry| entry.var.as_detached_tensor()))
        });
        let architecture = crate::Architecture::find("digits-cnn").expect("the network");
        let copy = architecture.build_in(&scope, 10)?;
        assert_eq!(logits(&*copy, DType::F32)?, logits(&model, DType::F32)?);
        for (copy, entry) in copy.params().entries().iter().zip(model.params.entries()) {
            assert_eq!((&copy.name, copy.kind), (&entry.name, entry.kind));
            assert_ne!(copy.var.id(), entry.var.id());
        }
        Ok(())
    }

    #[test]
    fn networks_compute_in_every_type() -> Result<()> {
        let model = trained()?;
        let want = logits(&model, DType::F32)?;
        for (dtype, precision) in [(DType::F64, 1e-5), (DType::BF16, 0.1), (DType::F16, 0.02)] {
            let params = model.params.clone();
            let scope = Scope::new(0, &Device::Cpu).with_dtype(dtype)?;
            let scope = scope.with_source(move |name, _| {
                Ok(params.get(name).map(|entry| entry.var.as_detached_tensor()))
            });
            let other = DigitsCnn::new(&scope, 10)?;
            for (a, b) in logits(&other, dtype)?.iter().zip(&want) {
                assert!((a - b).abs() < precision * (1.0 + b.abs()), "{dtype:?}: {a} for {b}");
            }
            let images = Tensor::rand(0f32, 1.0, (8, 1, 8, 8), &Device::Cpu)?.to_dtype(dtype)?;
            let loss = other.forward(&images, &Pass::train(&Gates::NONE))?.sqr()?.sum_all()?;
            let grads = loss.backward()?;
            for (entry, _) in other.params.trained() {
                let grad = grads.get(&entry.var).expect("a gradient");
                assert_eq!(grad.dtype(), dtype, "{}", entry.name);
            }
        }
        Ok(())
    }

    #[test]
    fn counts_are_as_the_table_says() -> Result<()> {
        let params = DigitsCnn::new(&Scope::new(0, &Device::Cpu), 10)?.params;
        assert_eq!(params.n_params(), 24_058);
        assert_eq!(params.layers().iter().map(|l| l.n_weights()).sum::<u64>(), 23_824);
        Ok(())
    }
}
