//! ResNet-18 and ResNet-50 for 224×224 images, with the parameter names of torchvision.
//!
//! | stage | blocks of ResNet-18 | blocks of ResNet-50 | channels inside a block | feature map |
//! | --- | --- | --- | --- | --- |
//! | conv1 (7×7, stride 2), bn1, ReLU | | | 64 | 112×112 |
//! | 3×3 max pooling, stride 2 | | | 64 | 56×56 |
//! | layer1 | 2 | 3 | 64 | 56×56 |
//! | layer2 (first: stride 2) | 2 | 4 | 128 | 28×28 |
//! | layer3 (first: stride 2) | 2 | 6 | 256 | 14×14 |
//! | layer4 (first: stride 2) | 2 | 3 | 512 | 7×7 |
//! | global average pooling, fc | | | 512 or 2048 | 1×1 |
//!
//! A block of ResNet-18 has two 3×3 convolutions. A block of ResNet-50 has a 1×1, a 3×3 (with the stride) and a 1×1
//! convolution to four times the channels. For 1000 classes: 11,689,512 and 25,557,032 parameters, 1,814,073,344 and
//! 4,089,184,256 MACs.
//!
//! As in He et al. (arXiv:1512.03385), except that the 3×3 convolution of a bottleneck has the stride, as in
//! torchvision. Convolutions are initialized Kaiming-normal (fan-out), the classifier has PyTorch's default
//! initialization.

use crate::Width;
use candle_core::{Result, Tensor};
use taper_nn::{
    Activation, BatchNorm, Conv2d, ConvConfig, Init, Linear, MaxWindows, Model, Params, Pass,
    Scope, global_average, max_pool, relu,
};

const WIDTHS: [usize; 4] = [64, 128, 256, 512];
/// Output channels of a bottleneck block, as a multiple of the channels inside it.
const EXPANSION: usize = 4;
/// A 7×7 convolution with stride 2.
const STEM: ConvConfig = ConvConfig::same(7).stride(2);
const POOL: MaxWindows = MaxWindows { size: 3, stride: 2, padding: 1 };

/// The network; see the module for its layers.
#[derive(Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    fc: Linear,
    params: Params,
}

impl ResNet {
    /// Builds ResNet-18 in `scope`, with `classes` outputs.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn resnet18(scope: &Scope, classes: usize) -> Result<Self> {
        Self::resnet18_of_width(scope, classes, Width::FULL)
    }

    /// Builds a narrower or wider ResNet-18.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn resnet18_of_width(scope: &Scope, classes: usize, width: Width) -> Result<Self> {
        Self::new(scope, classes, WIDTHS.map(|full| width.of(full)), [2, 2, 2, 2], false)
    }

    /// Builds ResNet-50 in `scope`, with `classes` outputs.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn resnet50(scope: &Scope, classes: usize) -> Result<Self> {
        Self::resnet50_of_width(scope, classes, Width::FULL)
    }

    /// Builds a narrower or wider ResNet-50.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn resnet50_of_width(scope: &Scope, classes: usize, width: Width) -> Result<Self> {
        Self::new(scope, classes, WIDTHS.map(|full| width.of(full)), [3, 4, 6, 3], true)
    }

    fn new(
        scope: &Scope,
        classes: usize,
        widths: [usize; 4],
        depths: [usize; 4],
        is_bottleneck: bool,
    ) -> Result<Self> {
        let conv1 = Conv2d::new(&scope.pp("conv1"), 3, widths[0], STEM, Init::FanOut)?;
        let bn1 = BatchNorm::new(&scope.pp("bn1"), widths[0])?;
        let (mut blocks, mut channels) = (Vec::new(), widths[0]);
        for (stage, (width, depth)) in (1..).zip(widths.into_iter().zip(depths)) {
            for block in 0..depth {
                let scope = scope.pp(format!("layer{stage}")).pp(block);
                let stride = if block == 0 && stage > 1 { 2 } else { 1 };
                let made = Block::new(&scope, channels, width, stride, is_bottleneck)?;
                channels = made.channels_out;
                blocks.push(made);
            }
        }
        let fc = Linear::new(&scope.pp("fc"), channels, classes, Init::Uniform)?;
        Ok(Self { conv1, bn1, blocks, fc, params: scope.finish() })
    }
}

impl Model for ResNet {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let stem = relu(&self.bn1.forward(&self.conv1.forward(images, pass)?, pass)?)?;
        let mut x = max_pool(&stem, POOL)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.fc.forward(global_average(&x)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

/// Convolutions and a shortcut.
#[derive(Debug)]
struct Block {
    units: Vec<(Conv2d, BatchNorm)>,
    downsample: Option<(Conv2d, BatchNorm)>,
    channels_out: usize,
}

impl Block {
    fn new(
        scope: &Scope,
        channels_in: usize,
        width: usize,
        stride: usize,
        is_bottleneck: bool,
    ) -> Result<Self> {
        let unit = |conv: Scope, bn: Scope, (from, to): (usize, usize), config: ConvConfig| {
            let conv = Conv2d::new(&conv, from, to, config, Init::FanOut)?;
            Ok::<_, candle_core::Error>((conv, BatchNorm::new(&bn, to)?))
        };
        let layers = match is_bottleneck {
            true => vec![
                ((channels_in, width), ConvConfig::same(1)),
                ((width, width), ConvConfig::same(3).stride(stride)),
                ((width, EXPANSION * width), ConvConfig::same(1)),
            ],
            false => vec![
                ((channels_in, width), ConvConfig::same(3).stride(stride)),
                ((width, width), ConvConfig::same(3)),
            ],
        };
        let channels_out = if is_bottleneck { EXPANSION * width } else { width };
        let units = (1..)
            .zip(layers)
            .map(|(i, (sizes, config))| {
                unit(scope.pp(format!("conv{i}")), scope.pp(format!("bn{i}")), sizes, config)
            })
            .collect::<Result<_>>()?;
        let changes = stride > 1 || channels_in != channels_out;
        let shortcut = || {
            let scope = scope.pp("downsample");
            let config = ConvConfig::same(1).stride(stride);
            unit(scope.pp(0), scope.pp(1), (channels_in, channels_out), config)
        };
        Ok(Self { units, downsample: changes.then(shortcut).transpose()?, channels_out })
    }

    fn forward(&self, x: &Activation, pass: &Pass) -> Result<Activation> {
        let mut y = x.clone();
        for (i, (conv, bn)) in self.units.iter().enumerate() {
            y = bn.forward(&conv.forward(&y, pass)?, pass)?;
            if i + 1 < self.units.len() {
                y = relu(&y)?;
            }
        }
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.forward(&conv.forward(x, pass)?, pass)?,
            None => x.clone(),
        };
        relu((y + shortcut)?)
    }
}
