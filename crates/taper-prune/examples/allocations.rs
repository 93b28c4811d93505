//! How allocations distribute one overall sparsity over layers of different sizes.

use candle_core::Device;
use taper_core::{Sparsity, Step};
use taper_nn::{Init, Linear, Scope};
use taper_prune::{Pruner, allocation};
use taper_schedule::Ramp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scope = Scope::new(0, &Device::Cpu);
    for (name, features_in, features_out) in [("fc1", 64, 256), ("fc2", 256, 256), ("fc3", 256, 10)]
    {
        Linear::new(&scope.pp(name), features_in, features_out, Init::Uniform)?;
    }
    let params = scope.finish();
    let target = Sparsity::new(0.95)?;
    let builder = || Pruner::builder(params.prunable(), Ramp::feather(target, 100), 100);
    let pruners = [
        ("global", builder().allocation(allocation::Global).build()?),
        ("uniform", builder().allocation(allocation::Uniform).build()?),
        ("erk", builder().allocation(allocation::Erk::default()).build()?),
    ];
    for (name, mut pruner) in pruners {
        pruner.begin_step(Step(100))?;
        let kept: Vec<_> =
            pruner.report().layers.iter().map(|l| (l.info.name.clone(), l.n_kept)).collect();
        println!("{name:>8}: {kept:?}, {} in total", pruner.report().n_kept());
    }
    Ok(())
}
