//! Writes a small network in every format, as seeds for fuzzing: `seeds FOLDER`.

use candle_core::{Device, Result, Tensor};
use std::{collections::BTreeMap, path::Path};
use taper_export::{ElementType, Format, Network, Options, export};
use taper_nn::{Conv2d, ConvConfig, Init, Model, Params, Pass, Scope, relu};

/// One convolution.
struct Net(Conv2d, Params);

impl Model for Net {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        relu(self.0.forward(images, pass)?)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.1
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder")?;
    let scope = Scope::new(0, &Device::Cpu);
    let config = ConvConfig { padding: 0, ..ConvConfig::same(2).biased() };
    let conv = Conv2d::new(&scope.pp("a"), 2, 3, config, Init::FanOut)?;
    let model = Net(conv, scope.finish());
    let sparse = [0.5f32, 0.0, 0.0, -1.0].repeat(6);
    let weight = model.params().get("a.weight").ok_or("no weight")?;
    weight.var.set(&Tensor::from_vec(sparse, (3, 2, 2, 2), &Device::Cpu)?)?;
    let network = Network::of(&model, [2, 4, 4], BTreeMap::new())?;
    for format in Format::ALL {
        for (element, sparse_initializers) in [(ElementType::F32, true), (ElementType::Bf16, false)]
        {
            if format == Format::Npz && element != ElementType::F32 {
                continue;
            }
            let options = Options { element, sparse_initializers, compact: true, overwrite: true };
            let path = Path::new(&folder).join(format!("{element}{}", format.suffix()));
            export(&network, format, &path, &options)?;
        }
    }
    Ok(())
}
