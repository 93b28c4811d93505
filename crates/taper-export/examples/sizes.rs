//! Writes a network at 95 % in every format and lists the sizes.

use std::collections::BTreeMap;
use taper_export::{Format, Network, Options, export};
use taper_nn::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = taper_zoo::build("resnet20", 100, 0, &candle_core::Device::Cpu)?;
    keep(&*model, 0.05)?;
    let network = Network::of(&*model, [3, 32, 32], BTreeMap::new())?;
    let folder = tempfile::tempdir()?;
    for format in Format::ALL {
        let path = folder.path().join(format!("resnet20{}", format.suffix()));
        let written = export(&network, format, &path, &Options::default())?;
        let share = written.bytes as f64 / written.dense_bytes as f64;
        println!("{format:<8} {:>9} bytes, {share:.3} of dense f32", written.bytes);
    }
    Ok(())
}

/// Keeps a share of each weight: its largest magnitudes.
fn keep(model: &dyn Model, share: f64) -> candle_core::Result<()> {
    for (_, var) in model.params().prunable() {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
        magnitudes.sort_by(|a, b| b.total_cmp(a));
        let cut = magnitudes[(share * values.len() as f64) as usize];
        let kept: Vec<f32> = values.iter().map(|&v| if v.abs() > cut { v } else { 0.0 }).collect();
        var.set(&candle_core::Tensor::from_vec(kept, var.shape(), var.device())?)?;
    }
    Ok(())
}
