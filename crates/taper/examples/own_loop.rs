//! Prunes a plain candle model with two lines in its training loop.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, Optimizer, VarBuilder, VarMap};
use taper::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    let model = candle_nn::seq()
        .add(candle_nn::linear(2, 64, vb.pp("fc1"))?)
        .add(candle_nn::Activation::Relu)
        .add(candle_nn::linear(64, 2, vb.pp("fc2"))?);
    let mut sgd = candle_nn::SGD::new(varmap.all_vars(), 0.5)?;

    // Is a point inside the unit circle?
    let x = Tensor::rand(-1.5f32, 1.5, (512, 2), &Device::Cpu)?;
    let y = x.sqr()?.sum(1)?.lt(1f32)?.to_dtype(DType::U32)?;

    let vars = varmap.data().lock().map_err(|_| "a thread panicked")?.clone();
    let mut pruner = Pruner::feather(prunable_vars(vars), Sparsity::new(0.7)?, 1000)?;
    for step in 0..1000 {
        let pruned = pruner.impose(Step(step))?;
        let loss = candle_nn::loss::cross_entropy(&model.forward(&x)?, &y)?;
        let mut grads = loss.backward()?;
        pruned.lift(&mut grads)?;
        sgd.step(&grads)?;
        if step % 200 == 199 {
            println!(
                "step {step}: loss {:.4}, sparsity {}",
                loss.to_scalar::<f32>()?,
                pruner.report().sparsity()
            );
        }
    }
    let n_zeros = pruner.bake()?;
    let right = model
        .forward(&x)?
        .argmax(1)?
        .eq(&y)?
        .to_dtype(DType::F32)?
        .mean_all()?
        .to_scalar::<f32>()?;
    println!("{n_zeros} of 256 weights are zero; accuracy {:.1} %", 100.0 * right);
    Ok(())
}

#[test]
fn runs() {
    main().expect("a pruned model");
}
