//! Writes a small network at 95 % sparsity in every format, and lists the file sizes.

use candle_core::{Device, Result, Tensor};
use std::collections::BTreeMap;
use taper_export::{Format, Network, Options, export};
use taper_nn::{
    Conv2d, ConvConfig, Init, Linear, Model, Params, Pass, Scope, global_average, relu,
};

/// Two convolutions and a linear layer.
struct Net {
    convs: [Conv2d; 2],
    out: Linear,
    params: Params,
}

impl Net {
    fn new() -> Result<Self> {
        let scope = Scope::new(0, &Device::Cpu);
        let conv = |name: &str, channels_in, channels_out| {
            let config = ConvConfig::same(3);
            Conv2d::new(&scope.pp(name), channels_in, channels_out, config, Init::FanOut)
        };
        Ok(Self {
            convs: [conv("conv1", 3, 64)?, conv("conv2", 64, 128)?],
            out: Linear::new(&scope.pp("out"), 128, 10, Init::Uniform)?,
            params: scope.finish(),
        })
    }
}

impl Model for Net {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let x = relu(self.convs[0].forward(images, pass)?)?;
        let x = relu(self.convs[1].forward(&x, pass)?)?;
        self.out.forward(global_average(&x)?, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = Net::new()?;
    keep(&model, 0.05)?;
    let network = Network::of(&model, [3, 32, 32], BTreeMap::new())?;
    let folder = tempfile::tempdir()?;
    for format in Format::ALL {
        let path = folder.path().join(format!("net{}", format.suffix()));
        let written = export(&network, format, &path, &Options::default())?;
        let ratio = written.bytes as f64 / written.dense_bytes as f64;
        println!("{format:<8} {:>9} bytes, {ratio:.3} of dense f32", written.bytes);
    }
    Ok(())
}

/// Keeps a fraction of each weight: the largest magnitudes.
fn keep(model: &dyn Model, fraction: f64) -> candle_core::Result<()> {
    for (_, var) in model.params().prunable() {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
        magnitudes.sort_by(|a, b| b.total_cmp(a));
        let threshold = magnitudes[(fraction * values.len() as f64) as usize];
        let kept = values.iter().map(|&v| if v.abs() > threshold { v } else { 0.0 });
        let kept: Vec<f32> = kept.collect();
        var.set(&candle_core::Tensor::from_vec(kept, var.shape(), var.device())?)?;
    }
    Ok(())
}
