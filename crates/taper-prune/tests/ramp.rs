//! Whole ramps, layer by layer: the count of a layer never rises, so frozen weights never return, and dropping keeps
//! counts exact.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use taper_core::{Sparsity, Step, rng::Rng};
use taper_nn::{Init, ParamKind, Params, Scope};
use taper_prune::{
    DropPolicy, DropRule, Pruner, PrunerBuilder,
    allocation::{Erk, Pin, Pinned, Uniform},
};
use taper_schedule::{Curve, Ramp};

fn params(sizes: &[usize]) -> Params {
    let scope = Scope::new(3, &Device::Cpu);
    for (i, &n) in sizes.iter().enumerate() {
        let layer = scope.pp(format!("layer{i}"));
        layer.param("weight", (n, 1), ParamKind::LinearWeight, Init::FanOut).expect("a layer");
    }
    scope.finish()
}

/// Builders with each allocation that ranks layers separately, over a ramp of `total` steps.
fn builders(params: &Params, target: f64, total: u64) -> Vec<PrunerBuilder> {
    let builder = || {
        let target = Sparsity::saturating(target);
        let ramp = Ramp::new(Curve::Cubic, Step(0), Step(total - 1), target);
        Pruner::builder(params.prunable(), ramp, total)
    };
    let pins =
        |pattern: &str| vec![Pin { pattern: pattern.into(), at_most: Sparsity::saturating(0.3) }];
    vec![
        builder().allocation(Uniform),
        builder().allocation(Erk::default()),
        builder().allocation(Erk { power: 0.5 }),
        builder().allocation(Pinned { inner: Box::new(Uniform), pins: pins("layer0.*") }),
        builder().allocation(Pinned { inner: Box::new(Erk::default()), pins: pins("layer0.*") }),
    ]
}

fn disturb(params: &Params, step: u64) {
    for (i, (_, var)) in params.prunable().enumerate() {
        let mut rng = Rng::for_key([step, i as u64]);
        let noise: Vec<f32> = (0..var.elem_count()).map(|_| (rng.normal() * 0.05) as f32).collect();
        let noise = Tensor::from_vec(noise, var.dims(), &Device::Cpu).expect("a tensor");
        var.set(&(var.as_tensor() + noise).expect("a sum")).expect("a variable");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn kept_counts_are_exact_and_what_is_pruned_stays_so(
        sizes in prop::collection::vec(1usize..40, 2..7), target in 0.3..0.95f64, total in 20u64..60,
        rule in 0usize..3,
    ) {
        let rules = [DropRule::Smallest, DropRule::Longest, DropRule::Random { seed: 5 }];
        let n: u64 = sizes.iter().map(|&n| n as u64).sum();
        let n_allocations = builders(&params(&sizes), target, total).len();
        for allocation in 0..n_allocations {
            for is_dropping in [false, true] {
                let params = params(&sizes);
                let builder = builders(&params, target, total).swap_remove(allocation);
                let builder = match is_dropping {
                    true => builder.drop(DropPolicy::constant(rules[rule], 1.0)),
                    false => builder,
                };
                // A pin that makes the target impossible is rejected at once.
                let Ok(mut pruner) = builder.build() else { continue };
                for step in 0..total {
                    pruner.begin_step(Step(step)).unwrap();
                    let wanted = pruner.sparsity().n_kept(n);
                    prop_assert_eq!(pruner.report().n_kept(), wanted, "{} {}", allocation, step);
                    let seen = *pruner.feedback().expect("a refresh");
                    prop_assert_eq!(seen.n_entered, 0, "{} {}", allocation, step);
                    prop_assert_eq!(seen.n_left, seen.n_before - wanted);
                    // Without dropping, weights are frozen; with it, an optimizer may move all of them.
                    if is_dropping {
                        disturb(&params, step);
                    }
                }
            }
        }
    }
}
