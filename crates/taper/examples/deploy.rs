//! A convolutional network of one's own: trained sparse in its own loop, then compiled and run without candle.
//! The tutorial *Prune a candle model and deploy it* of the book explains it.

use candle_core::{Device, Result, Tensor};
use candle_nn::Optimizer;
use taper::nn::{
    Activation, BatchNorm, Conv2d, ConvConfig, Init, Linear, Params, Scope, global_average, relu,
};
use taper::prelude::*;

struct Net {
    blocks: Vec<(Conv2d, BatchNorm)>,
    classifier: Linear,
    params: Params,
}

impl Net {
    fn new(scope: &Scope) -> Result<Self> {
        // Input channels, output channels and stride of each 3×3 convolution.
        let blocks = [(1, 64, 1), (64, 128, 2), (128, 128, 1)].into_iter().enumerate();
        let block = |(i, (input, output, stride))| {
            let config = ConvConfig::same(3).stride(stride);
            let conv =
                Conv2d::new(&scope.pp(format!("conv{i}")), input, output, config, Init::FanOut)?;
            Ok((conv, BatchNorm::new(&scope.pp(format!("bn{i}")), output)?))
        };
        Ok(Self {
            blocks: blocks.map(block).collect::<Result<_>>()?,
            classifier: Linear::new(&scope.pp("classifier"), 128, 10, Init::Uniform)?,
            params: scope.finish(),
        })
    }
}

impl Model for Net {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut x = Activation::from(images);
        for (conv, bn) in &self.blocks {
            x = relu(&bn.forward(&conv.forward(&x, pass)?, pass)?)?;
        }
        self.classifier.forward(global_average(&x)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

use taper::data::{Augment, Batch, Dataset, Loader, LoaderConfig, OpenOptions};

const EPOCHS: u64 = 12;
const LEARNING_RATE: f64 = 3e-3;

fn tensors(batch: Batch) -> Result<(Tensor, Tensor)> {
    let (dims, n) = (batch.dims(), batch.len());
    let images = Tensor::from_vec(batch.images, &dims, &Device::Cpu)?;
    Ok((images, Tensor::from_vec(batch.labels, n, &Device::Cpu)?))
}

fn train(net: &Net, data: &Dataset, sparsity: f64) -> anyhow::Result<()> {
    let config = LoaderConfig::train(32, Augment::Shift, data.normalisation.clone(), 0);
    let loader = Loader::new(data.train.clone(), config)?;
    let n_steps = EPOCHS * loader.batches_per_epoch() as u64;

    let mut pruner = Pruner::feather(net.params().prunable(), Sparsity::new(sparsity)?, n_steps)?;
    let variables = net.params().trained().map(|(entry, _)| entry.var.clone()).collect();
    let mut adamw = candle_nn::AdamW::new_lr(variables, LEARNING_RATE)?;

    let mut step = 0;
    for epoch in 0..EPOCHS {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch) {
            let (images, labels) = tensors(batch)?;
            let gates = pruner.begin_step(Step(step))?; // updates the masks
            let logits = net.forward(&images, &Pass::train(&gates))?; // computes with pruned weights
            let loss = candle_nn::loss::cross_entropy(&logits, &labels)?;
            adamw.set_learning_rate(LEARNING_RATE * (1.0 - step as f64 / n_steps as f64));
            adamw.backward_step(&loss)?; // moves the dense weights
            sum += loss.to_scalar::<f32>()?;
            step += 1;
        }
        let loss = sum / loader.batches_per_epoch() as f32;
        println!("epoch {epoch}: loss {loss:.3}, sparsity {}", pruner.report().sparsity());
    }
    let n_zeros = pruner.bake()?; // writes the pruned weights into the variables
    println!("{n_zeros} weights are 0");
    Ok(())
}

use std::time::Instant;
use taper::export::{Format, Network, Options, export};
use taper::infer::{self, Engine};

/// The fraction of test images that an engine classifies correctly, and its median time per image in microseconds.
fn measure(engine: &Engine, data: &Dataset) -> anyhow::Result<(f64, f64)> {
    let config = LoaderConfig::evaluation(1, data.normalisation.clone());
    let mut workspace = engine.workspace()?;
    let (mut logits, mut n_correct, mut times) = ([0.0; 10], 0, Vec::new());
    for image in Loader::new(data.test.clone(), config)?.epoch(0) {
        let start = Instant::now();
        engine.run_with(&mut workspace, &image.images, &mut logits)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        n_correct += usize::from(best == Some(image.labels[0] as usize));
    }
    times.sort_by(f64::total_cmp);
    Ok((n_correct as f64 / data.test.len() as f64, times[times.len() / 2]))
}

fn main() -> anyhow::Result<()> {
    let data = Dataset::open("digits", &OpenOptions::default())?;
    for sparsity in [0.0, 0.95] {
        let net = Net::new(&Scope::new(0, &Device::Cpu))?;
        train(&net, &data, sparsity)?;
        let network = Network::of(&net, [1, 8, 8], Default::default())?;
        let file = format!("digits-{sparsity}.onnx");
        let options = Options { overwrite: true, ..Options::default() };
        export(&network.folded()?, Format::Onnx, file.as_ref(), &options)?;

        let engine = Engine::compile(&network.into_graph(), &infer::Options::default())?;
        let (accuracy, time) = measure(&engine, &data)?;
        println!(
            "sparsity {sparsity}: test accuracy {:.1} %, {time:.0} µs per image\n",
            100.0 * accuracy
        );
    }
    Ok(())
}
