//! DenseNet40-24 for 32×32 images: depth 40, growth 24, with bottlenecks.
//!
//! | stage | layers | channels | feature map | MACs |
//! | --- | --- | --- | --- | --- |
//! | conv1 | | 48 | 32×32 | 1.3 M |
//! | block1 | 6 | 48 to 192 | 32×32 | 191.1 M |
//! | trans1: 1×1 convolution, 2×2 average pooling | | 96 | 16×16 | 18.9 M |
//! | block2 | 6 | 96 to 240 | 16×16 | 54.9 M |
//! | trans2 | | 120 | 8×8 | 7.4 M |
//! | block3 | 6 | 120 to 264 | 8×8 | 14.6 M |
//! | bn1, ReLU, global average pooling, fc | | 264 | 1×1 | |
//!
//! A layer is batch norm, ReLU and a 1×1 convolution to 96 channels, then batch norm, ReLU and a 3×3 convolution to 24
//! channels. Its output is concatenated with its input. For 100 classes: 714,196 parameters, 703,920 of them prunable
//! in 40 layers, 288,155,424 MACs.
//!
//! As in Huang et al. (arXiv:1608.06993), with compression 0.5 in the transitions. Convolutions are initialized
//! Kaiming-normal (fan-out), the classifier has PyTorch's default initialization.

use crate::Width;
use candle_core::{Result, Tensor};
use taper_nn::{
    Activation, BatchNorm, Conv2d, ConvConfig, Init, Linear, Model, Params, Pass, Scope, average,
    concat, global_average, relu,
};

const GROWTH: usize = 24;
/// Channels of the bottleneck, as a multiple of the growth.
const BOTTLENECK: usize = 4;
const LAYERS_PER_BLOCK: usize = 6;
const BLOCKS: usize = 3;

/// The network; see the module for its layers.
#[derive(Debug)]
pub struct DenseNet40 {
    conv1: Conv2d,
    blocks: Vec<Vec<[Unit; 2]>>,
    transitions: Vec<Unit>,
    bn: BatchNorm,
    fc: Linear,
    params: Params,
}

impl DenseNet40 {
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
        let growth = width.of(GROWTH);
        let bottleneck = BOTTLENECK * growth;
        let mut channels = 2 * growth;
        let conv1 =
            Conv2d::new(&scope.pp("conv1"), 3, channels, ConvConfig::same(3), Init::FanOut)?;
        let (mut blocks, mut transitions) = (Vec::new(), Vec::new());
        for block in 1..=BLOCKS {
            let mut layers = Vec::new();
            for layer in 0..LAYERS_PER_BLOCK {
                let scope = scope.pp(format!("block{block}")).pp("layer").pp(layer);
                layers.push([
                    Unit::new(&scope, 1, (channels, bottleneck), ConvConfig::same(1))?,
                    Unit::new(&scope, 2, (bottleneck, growth), ConvConfig::same(3))?,
                ]);
                channels += growth;
            }
            blocks.push(layers);
            if block < BLOCKS {
                let sizes = (channels, channels / 2);
                let scope = scope.pp(format!("trans{block}"));
                transitions.push(Unit::new(&scope, 1, sizes, ConvConfig::same(1))?);
                channels /= 2;
            }
        }
        let bn = BatchNorm::new(&scope.pp("bn1"), channels)?;
        let fc = Linear::new(&scope.pp("fc"), channels, classes, Init::Uniform)?;
        Ok(Self { conv1, blocks, transitions, bn, fc, params: scope.finish() })
    }
}

impl Model for DenseNet40 {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut x = self.conv1.forward(images, pass)?;
        let mut transitions = self.transitions.iter();
        for layers in &self.blocks {
            for [narrow, wide] in layers {
                let y = wide.forward(&narrow.forward(&x, pass)?, pass)?;
                x = concat(&[&x, &y])?;
            }
            if let Some(transition) = transitions.next() {
                x = average(transition.forward(&x, pass)?, 2)?;
            }
        }
        let x = relu(&self.bn.forward(&x, pass)?)?;
        self.fc.forward(global_average(&x)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

/// Batch norm, ReLU, convolution.
#[derive(Debug)]
struct Unit {
    bn: BatchNorm,
    conv: Conv2d,
}

impl Unit {
    /// `bn` and `conv` number `n` of `scope`.
    fn new(
        scope: &Scope,
        n: usize,
        (channels_in, channels_out): (usize, usize),
        config: ConvConfig,
    ) -> Result<Self> {
        let (bn, conv) = (scope.pp(format!("bn{n}")), scope.pp(format!("conv{n}")));
        Ok(Self {
            bn: BatchNorm::new(&bn, channels_in)?,
            conv: Conv2d::new(&conv, channels_in, channels_out, config, Init::FanOut)?,
        })
    }

    fn forward(&self, x: &Activation, pass: &Pass) -> Result<Activation> {
        self.conv.forward(relu(&self.bn.forward(x, pass)?)?, pass)
    }
}
