//! Runs one layer dense and with a gate.

use candle_core::{Device, Tensor};
use std::sync::Arc;
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{Gate, Gates, Init, Linear, Pass, Scope};

fn main() -> candle_core::Result<()> {
    let scope = Scope::new(0, &Device::Cpu);
    let layer = Linear::new(&scope.pp("fc"), 4, 3, Init::Uniform)?;
    let weights = scope.finish().entries()[0].var.flatten_all()?.to_vec1::<f32>()?;
    let cut = 0.3;
    let gate = Gate {
        value: Threshold::FEATHER.into(),
        cut,
        mask: Arc::new(Mask::above(&weights, cut)),
        live: None,
        sampling: None,
        grad_at_zero: 1.0,
        grad_at_cut: 1.0,
    };
    let gates = Gates::new(vec![Some(gate)]);
    let x = Tensor::ones((1, 4), candle_core::DType::F32, &Device::Cpu)?;
    println!("weights {weights:?}");
    println!("dense   {}", layer.forward(&x, &Pass::eval())?.tensor()?);
    println!("gated   {}", layer.forward(&x, &Pass::eval_gated(&gates))?.tensor()?);
    Ok(())
}
