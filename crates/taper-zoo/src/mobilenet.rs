//! MobileNetV1, for 32×32 and for 224×224 images.
//!
//! | stage | blocks | channels | feature map | MACs |
//! | --- | --- | --- | --- | --- |
//! | stem: 3×3 convolution, block | 1 | 32, 64 | 32×32 | 3.3 M |
//! | conv1 | 2 (first: stride 2) | 128 | 16×16 | 6.9 M |
//! | conv2 | 2 (first: stride 2) | 256 | 8×8 | 6.6 M |
//! | conv3 | 6 (first: stride 2) | 512 | 4×4 | 23.6 M |
//! | conv4 | 2 (first: stride 2) | 1024 | 2×2 | 6.4 M |
//! | global average pooling, linear | | 1024 | 1×1 | 0.1 M |
//!
//! A block is a 3×3 depthwise and a 1×1 pointwise convolution, each with batch norm and ReLU. For 100 classes:
//! 3,315,428 parameters, 3,287,488 of them prunable in 28 layers, 46,446,592 MACs.
//!
//! Deviations from Howard et al. (arXiv:1704.04861), all as in Feather's reference: the stem has stride 1, and each of
//! the four stages halves the feature map; pointwise convolutions have a bias before batch norm. All weights have
//! PyTorch's default initialization.
//!
//! The network for 224×224 images is that of the paper: the stem has stride 2, and convolutions before batch norm have
//! no bias. For 1000 classes: 4,231,976 parameters, 4,209,088 of them prunable, 568,740,352 MACs.

use crate::Width;
use candle_core::{Result, Tensor};
use taper_nn::{
    Activation, BatchNorm, Conv2d, ConvConfig, Init, Linear, Model, Params, Pass, Scope,
    global_average, relu,
};

/// Channels and blocks of the stages after the stem; the first block of each stage has stride 2.
const STAGES: [(usize, usize); 4] = [(128, 2), (256, 2), (512, 6), (1024, 2)];

/// The network; see the module for its layers.
#[derive(Debug)]
pub struct MobileNetV1 {
    stem: Unit,
    blocks: Vec<[Unit; 2]>,
    fc: Linear,
    params: Params,
}

impl MobileNetV1 {
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
        Self::with(scope, classes, width, [ConvConfig::same(3), ConvConfig::same(1).biased()])
    }

    /// Builds the network of the paper, for 224×224 images.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn imagenet(scope: &Scope, classes: usize) -> Result<Self> {
        Self::imagenet_of_width(scope, classes, Width::FULL)
    }

    /// Builds a narrower or wider network for 224×224 images.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn imagenet_of_width(scope: &Scope, classes: usize, width: Width) -> Result<Self> {
        Self::with(scope, classes, width, [ConvConfig::same(3).stride(2), ConvConfig::same(1)])
    }

    fn with(
        scope: &Scope,
        classes: usize,
        width: Width,
        [first, pointwise]: [ConvConfig; 2],
    ) -> Result<Self> {
        let (narrow, mut channels) = (width.of(32), width.of(64));
        let names = scope.pp("stem").pp(0);
        let stem = Unit::new(&names.pp("conv"), &names.pp("bn"), (3, narrow), first)?;
        let mut blocks = vec![block(&scope.pp("stem").pp(1), (narrow, channels), 1, pointwise)?];
        for (stage, (full, n)) in (1..).zip(STAGES) {
            let wider = width.of(full);
            for i in 0..n {
                let stride = if i == 0 { 2 } else { 1 };
                let scope = scope.pp(format!("conv{stage}")).pp(i);
                blocks.push(block(&scope, (channels, wider), stride, pointwise)?);
                channels = wider;
            }
        }
        let fc = Linear::new(&scope.pp("fc"), channels, classes, Init::Uniform)?;
        Ok(Self { stem, blocks, fc, params: scope.finish() })
    }
}

impl Model for MobileNetV1 {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut x = self.stem.forward(&images.into(), pass)?;
        for unit in self.blocks.iter().flatten() {
            x = unit.forward(&x, pass)?;
        }
        self.fc.forward(global_average(&x)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

/// A depthwise, then a pointwise convolution.
fn block(
    scope: &Scope,
    (channels, wider): (usize, usize),
    stride: usize,
    pointwise: ConvConfig,
) -> Result<[Unit; 2]> {
    let unit = |name: &str, sizes, config| {
        let scope = scope.pp(name);
        Unit::new(&scope.pp(0), &scope.pp(1), sizes, config)
    };
    let depthwise = ConvConfig::same(3).stride(stride).groups(channels);
    Ok([
        unit("depthwise", (channels, channels), depthwise)?,
        unit("pointwise", (channels, wider), pointwise)?,
    ])
}

/// Convolution, batch norm, ReLU.
#[derive(Debug)]
struct Unit {
    conv: Conv2d,
    bn: BatchNorm,
}

impl Unit {
    fn new(
        conv: &Scope,
        bn: &Scope,
        (channels_in, channels_out): (usize, usize),
        config: ConvConfig,
    ) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::new(conv, channels_in, channels_out, config, Init::Uniform)?,
            bn: BatchNorm::new(bn, channels_out)?,
        })
    }

    fn forward(&self, x: &Activation, pass: &Pass) -> Result<Activation> {
        relu(&self.bn.forward(&self.conv.forward(x, pass)?, pass)?)
    }
}
