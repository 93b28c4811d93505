//! ResNet-20 for 32×32 images, in the wide form that Feather uses.
//!
//! | stage | blocks | channels | feature map | MACs |
//! | --- | --- | --- | --- | --- |
//! | conv1, bn, ReLU | | 32 | 32×32 | 0.9 M |
//! | layer1 | 3 | 32 | 32×32 | 56.6 M |
//! | layer2 | 3 (first: stride 2) | 64 | 16×16 | 52.4 M |
//! | layer3 | 3 (first: stride 2) | 128 | 8×8 | 52.4 M |
//! | global average pooling, linear | | 128 | 1×1 | |
//!
//! For 100 classes: 1,096,196 parameters, 1,092,960 of them prunable in 22 layers, 162,378,240 MACs.
//!
//! Deviations from He et al. (arXiv:1512.03385), all as in Feather's reference: twice the channels, and a 1×1
//! convolution with batch norm on the shortcut where the shape changes. Convolutions are initialized Kaiming-normal
//! (fan-out), the classifier is normal with standard deviation 0.01.

use crate::Width;
use candle_core::{Result, Tensor};
use taper_nn::{
    Activation, BatchNorm, Conv2d, ConvConfig, Init, Linear, Model, Params, Pass, Scope,
    global_average, relu,
};

const WIDTHS: [usize; 3] = [32, 64, 128];
const BLOCKS_PER_STAGE: usize = 3;

/// The network; see the module for its layers.
#[derive(Debug)]
pub struct ResNet20 {
    conv1: Conv2d,
    bn: BatchNorm,
    blocks: Vec<Block>,
    linear: Linear,
    params: Params,
}

impl ResNet20 {
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
        let widths = WIDTHS.map(|full| width.of(full));
        let conv1 =
            Conv2d::new(&scope.pp("conv1"), 3, widths[0], ConvConfig::same(3), Init::FanOut)?;
        let bn = BatchNorm::new(&scope.pp("bn"), widths[0])?;
        let (mut blocks, mut channels_in) = (Vec::new(), widths[0]);
        for (stage, channels_out) in (1..).zip(widths) {
            for block in 0..BLOCKS_PER_STAGE {
                let scope = scope.pp(format!("layer{stage}")).pp(block);
                blocks.push(Block::new(
                    &scope,
                    channels_in,
                    channels_out,
                    stage > 1 && block == 0,
                )?);
                channels_in = channels_out;
            }
        }
        let linear = Linear::new(&scope.pp("linear"), channels_in, classes, Init::Normal(0.01))?;
        Ok(Self { conv1, bn, blocks, linear, params: scope.finish() })
    }
}

impl Model for ResNet20 {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut x = relu(&self.bn.forward(&self.conv1.forward(images, pass)?, pass)?)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.linear.forward(global_average(&x)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

/// Two 3×3 convolutions and a shortcut.
#[derive(Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Block {
    /// A block with `changes` has stride 2 and a convolution on its shortcut.
    fn new(scope: &Scope, channels_in: usize, channels_out: usize, changes: bool) -> Result<Self> {
        let stride = if changes { 2 } else { 1 };
        let first = ConvConfig::same(3).stride(stride);
        Ok(Self {
            conv1: Conv2d::new(&scope.pp("conv1"), channels_in, channels_out, first, Init::FanOut)?,
            bn1: BatchNorm::new(&scope.pp("bn1"), channels_out)?,
            conv2: Conv2d::new(
                &scope.pp("conv2"),
                channels_out,
                channels_out,
                ConvConfig::same(3),
                Init::FanOut,
            )?,
            bn2: BatchNorm::new(&scope.pp("bn2"), channels_out)?,
            downsample: changes
                .then(|| {
                    let config = ConvConfig::same(1).stride(stride);
                    let conv = scope.pp("downsample").pp(0);
                    Ok::<_, candle_core::Error>((
                        Conv2d::new(&conv, channels_in, channels_out, config, Init::FanOut)?,
                        BatchNorm::new(&scope.pp("bn3"), channels_out)?,
                    ))
                })
                .transpose()?,
        })
    }

    fn forward(&self, x: &Activation, pass: &Pass) -> Result<Activation> {
        let y = relu(&self.bn1.forward(&self.conv1.forward(x, pass)?, pass)?)?;
        let y = self.bn2.forward(&self.conv2.forward(&y, pass)?, pass)?;
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.forward(&conv.forward(x, pass)?, pass)?,
            None => x.clone(),
        };
        relu((y + shortcut)?)
    }
}
