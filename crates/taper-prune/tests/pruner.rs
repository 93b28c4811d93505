//! The pruner over whole schedules: exact counts, nested masks, held masks, baking, restoring, and the two ways
//! of pruning a forward pass.

use candle_core::{Device, Tensor, Var};
use taper_core::{LayerId, Sparsity, Step, rng::Rng};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{Init, Linear, ParamKind, Params, Pass, Scope};
use taper_prune::{
    PrunedUpdate, Pruner, PrunerBuilder, Quantile, allocation,
    criterion::{Criterion, Fisher, GradientEma, Grasp, Inverted, Mest, Normalised, SynFlow, View},
    renewal::{Hold, TopK},
    structure::{Blocks, MaxBlocks},
};
use taper_scale::{Constant, Fall, Falling, Over};
use taper_schedule::{Adaptation, Adaptive, Cadence, Curve, Ramp, Reference, Signal};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const TOTAL: u64 = 40;

fn params() -> Result<Params> {
    let scope = Scope::new(3, &Device::Cpu);
    scope.pp("conv").param("weight", (8, 3, 3, 3), ParamKind::ConvWeight, Init::FanOut)?;
    scope.pp("fc").param("weight", (10, 31), ParamKind::LinearWeight, Init::FanOut)?;
    scope.pp("fc").param("bias", 10, ParamKind::Bias, Init::Constant(0.0))?;
    Ok(scope.finish())
}

fn builder(params: &Params, target: f64) -> Result<PrunerBuilder> {
    Ok(Pruner::builder(params.prunable(), Ramp::feather(Sparsity::new(target)?, TOTAL), TOTAL))
}

/// Moves every weight a little, as an optimizer would.
fn disturb(params: &Params, step: u64) -> Result {
    for (i, (_, var)) in params.prunable().enumerate() {
        let mut rng = Rng::for_key([step, i as u64]);
        let noise: Vec<f32> = (0..var.elem_count()).map(|_| (rng.normal() * 0.05) as f32).collect();
        var.set(&(var.as_tensor() + Tensor::from_vec(noise, var.dims(), &Device::Cpu)?)?)?;
    }
    Ok(())
}

/// Rounds each layer separately.
#[derive(Debug)]
struct Careless;

impl allocation::Allocation for Careless {
    fn allocate(
        &self,
        layers: &[allocation::Layer],
        overall: Sparsity,
    ) -> std::result::Result<Vec<allocation::Group>, allocation::AllocationError> {
        let mut groups = Vec::new();
        for layer in layers {
            groups.extend(allocation::Global.allocate(&[*layer], overall)?);
        }
        Ok(groups)
    }
}

#[test]
fn an_allocation_that_does_not_add_up_is_refused() -> Result {
    let params = params()?;
    // For 216 and 310 weights, some sparsities give another total when each layer is rounded separately.
    let mut refused = 0;
    for target in [0.9, 0.93, 0.95, 0.97, 0.98, 0.985] {
        if let Err(error) = builder(&params, target)?.allocation(Careless).build() {
            assert!(error.to_string().contains("an allocation must add up"), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 3, "95, 97 and 98 %");
    Ok(())
}

/// Returns the groups of another allocation, with other layers.
#[derive(Debug)]
struct Wrong(fn(&mut Vec<allocation::Group>));

impl allocation::Allocation for Wrong {
    fn allocate(
        &self,
        layers: &[allocation::Layer],
        overall: Sparsity,
    ) -> std::result::Result<Vec<allocation::Group>, allocation::AllocationError> {
        let mut groups = allocation::Global.allocate(layers, overall)?;
        (self.0)(&mut groups);
        Ok(groups)
    }
}

#[test]
fn each_layer_must_be_in_one_group() -> Result {
    let params = params()?;
    for (change, said) in [
        (
            (|groups| groups[0].layers.truncate(1)) as fn(&mut Vec<allocation::Group>),
            "layer 1 in 0",
        ),
        (|groups| groups[0].layers.push(LayerId(0)), "layer 0 in 2"),
        (|groups| groups[0].layers.push(LayerId(7)), "has layer 7, but layers count from 0 to 1"),
    ] {
        let error = builder(&params, 0.9)?.allocation(Wrong(change)).build().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    Ok(())
}

/// Has a score too few.
#[derive(Debug)]
struct Short;

impl Criterion for Short {
    fn scores<'a>(&self, layer: &View<'a>) -> std::borrow::Cow<'a, [f32]> {
        layer.weights[1..].into()
    }
}

#[test]
fn a_criterion_must_score_each_weight() -> Result {
    let params = params()?;
    let built = builder(&params, 0.9)?.threshold(Threshold::Hard).criterion(Short);
    let mut pruner = built.build()?;
    let error = (0..TOTAL).find_map(|step| pruner.begin_step(Step(step)).err()).expect("an error");
    assert!(error.to_string().contains("has 216 weights, but scores of 215 values"), "{error}");
    Ok(())
}

#[test]
fn kept_counts_equal_the_rounded_target_at_every_step() -> Result {
    let params = params()?;
    let n = params.layers().iter().map(|l| l.n_weights()).sum::<u64>();
    let ramp = Ramp::feather(Sparsity::new(0.95)?, TOTAL);
    let uniform = || builder(&params, 0.95).map(|b| b.allocation(allocation::Uniform));
    let erk = || builder(&params, 0.95).map(|b| b.allocation(allocation::Erk::default()));
    for mut pruner in [builder(&params, 0.95)?.build()?, uniform()?.build()?, erk()?.build()?] {
        for step in 0..TOTAL {
            let gates = pruner.begin_step(Step(step))?;
            let wanted = taper_schedule::SparsitySchedule::sparsity(&ramp, Step(step)).n_kept(n);
            assert_eq!(pruner.report().n_kept(), wanted, "step {step}");
            if step == 0 {
                assert_eq!(
                    gates,
                    taper_nn::Gates::new(vec![None, None]),
                    "at sparsity 0 there is no operator"
                );
            }
            disturb(&params, step)?;
            assert_eq!(pruner.refresh_counted()?.1.n_kept(), wanted, "refreshed after step {step}");
        }
    }
    Ok(())
}

#[test]
fn the_interpolated_quantile_counts_as_the_reference_does() -> Result {
    let params = params()?;
    let n = params.layers().iter().map(|l| l.n_weights()).sum::<u64>();
    let mut pruner = builder(&params, 0.9)?.quantile(Quantile::Interpolated).build()?;
    for step in 1..TOTAL {
        pruner.begin_step(Step(step))?;
        let n_zeros = ((n - 1) as f64 * pruner.sparsity().get()).floor() as u64 + 1;
        assert_eq!(n - pruner.report().n_kept(), n_zeros, "step {step}");
        disturb(&params, step)?;
    }
    Ok(())
}

#[test]
fn masks_of_frozen_weights_are_nested_and_churn_is_counted() -> Result {
    let params = params()?;
    let mut pruner = builder(&params, 0.95)?.build()?;
    for step in 0..TOTAL {
        pruner.begin_step(Step(step))?;
        assert_eq!(pruner.feedback().expect("a refresh").n_entered, 0);
    }
    disturb(&params, 0)?;
    pruner.begin_step(Step(TOTAL))?;
    let seen = pruner.feedback().expect("a refresh");
    assert!(seen.n_entered > 0 && seen.n_entered == seen.n_left, "{seen:?}");
    Ok(())
}

#[test]
fn masks_are_held_between_refreshes() -> Result {
    let params = params()?;
    let mut pruner =
        builder(&params, 0.9)?.cadence(Cadence::every(5)?).threshold(Threshold::Hard).build()?;
    for step in 0..=10 {
        pruner.begin_step(Step(step))?;
    }
    let mask = |gates: &taper_nn::Gates| gates.get(LayerId(1)).expect("a gate").mask.clone();
    let at_refresh = mask(&pruner.begin_step(Step(10))?);
    disturb(&params, 1)?;
    assert_eq!(mask(&pruner.begin_step(Step(11))?), at_refresh);
    assert!(pruner.feedback().is_none());
    assert_ne!(mask(&pruner.begin_step(Step(15))?), at_refresh);
    Ok(())
}

#[test]
fn the_target_is_reached_whatever_the_cadence_and_held_masks_are_evaluated() -> Result {
    let params = params()?;
    let mut pruner =
        builder(&params, 0.9)?.cadence(Cadence::every(1000)?).threshold(Threshold::Hard).build()?;
    for step in 0..TOTAL {
        pruner.begin_step(Step(step))?;
        disturb(&params, step)?;
    }
    assert_eq!(pruner.sparsity().get(), 0.9);
    let gates = pruner.begin_step(Step(TOTAL - 1))?;
    assert_eq!(pruner.refresh()?, gates);
    let n_kept = pruner.report().n_kept();
    assert_eq!(pruner.bake()?, 526 - n_kept);
    Ok(())
}

#[test]
fn a_schedule_that_ends_after_the_run_is_refused() -> Result {
    let params = params()?;
    let schedule = Ramp::new(Curve::Cubic, Step(0), Step(TOTAL), Sparsity::new(0.9)?);
    let error =
        Pruner::builder(params.prunable(), schedule, TOTAL).build().unwrap_err().to_string();
    assert!(error.contains("short of its target 0.9"), "{error}");
    Ok(())
}

#[test]
fn baking_writes_the_gated_values_and_is_idempotent() -> Result {
    let params = params()?;
    let n = params.layers().iter().map(|l| l.n_weights()).sum::<u64>();
    let run = |threshold| -> Result<u64> {
        let mut pruner = builder(&params, 0.9)?.threshold(threshold).build()?;
        pruner.begin_step(Step(TOTAL))?;
        Ok(pruner.bake()?)
    };
    assert_eq!(run(Threshold::FEATHER)?, n - Sparsity::new(0.9)?.n_kept(n));
    let after_one: Vec<Vec<f32>> = params
        .prunable()
        .map(|(_, v)| v.flatten_all()?.to_vec1())
        .collect::<candle_core::Result<_>>()?;
    run(Threshold::Hard)?;
    let after_two: Vec<Vec<f32>> = params
        .prunable()
        .map(|(_, v)| v.flatten_all()?.to_vec1())
        .collect::<candle_core::Result<_>>()?;
    assert_eq!(after_one, after_two);
    Ok(())
}

#[test]
fn a_restored_pruner_goes_on_as_the_old_one() -> Result {
    let params = params()?;
    let build =
        || -> Result<Pruner> { Ok(builder(&params, 0.9)?.cadence(Cadence::every(4)?).build()?) };
    let (mut old, mut new) = (build()?, build()?);
    old.begin_step(Step(8))?;
    disturb(&params, 8)?;
    new.restore(old.state())?;
    assert_eq!(new.state(), old.state());
    assert_eq!(new.report(), old.report());
    for step in 9..20 {
        assert_eq!(old.begin_step(Step(step))?, new.begin_step(Step(step))?, "step {step}");
        assert_eq!(old.feedback(), new.feedback());
    }
    let mut misfit = old.state();
    misfit.masks.pop();
    assert!(new.restore(misfit).unwrap_err().to_string().contains("1 layers"));
    Ok(())
}

#[test]
fn a_per_layer_scale_uses_the_sparsity_of_each_layer() -> Result {
    let params = params()?;
    let density = || taper_scale::Density::new(0.0, 1.0);
    let mut one = builder(&params, 0.9)?.gradient(density()?).build()?;
    let mut each = builder(&params, 0.9)?.gradient(taper_scale::PerLayer(density()?)).build()?;
    let step = Step(TOTAL / 2);
    let (one, each, report) = (one.begin_step(step)?, each.begin_step(step)?, each.report());
    for (i, layer) in report.layers.iter().enumerate() {
        let own = layer.n_kept as f32 / layer.info.n_weights() as f32;
        let theta = |gates: &taper_nn::Gates| gates.get(LayerId(i)).unwrap().grad_at_zero;
        assert!((theta(&each) - own).abs() < 1e-6 && (theta(&one) - 0.1).abs() < 1e-6);
        assert!((own - 0.1).abs() > 1e-3, "a global threshold gives layers different densities");
    }
    Ok(())
}

#[test]
fn a_schedule_with_a_window_observes_changes_over_it() -> Result {
    let (params, target) = (params()?, Sparsity::new(0.9)?);
    let ramp = Ramp::new(Curve::Linear, Step(0), Step(20), target);
    let adaptation = Adaptation {
        window: 5,
        smoothing: 0.0,
        reference: Reference::Absolute(1e-6),
        ..Adaptation::by(Step(30))
    };
    let mut pruner =
        Pruner::builder(params.prunable(), Adaptive::new(ramp, adaptation)?, TOTAL).build()?;
    let mut clocks = Vec::new();
    for step in 0..TOTAL {
        pruner.begin_step(Step(step))?;
        clocks.push(pruner.clock().ok_or("a clock")?);
        disturb(&params, step)?;
    }
    // The first masks that prune are those of step 1, so the first change over five steps is observed in step 6. From
    // then on the rate is a quarter, until the deadline requires a larger one.
    assert_eq!(clocks[..10], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.25, 6.5, 6.75]);
    assert_eq!((clocks[30], pruner.sparsity()), (20.0, target));
    Ok(())
}

#[test]
fn the_first_masks_are_no_change_for_a_window_of_one_step_either() -> Result {
    let (params, target) = (params()?, Sparsity::new(0.9)?);
    // This signal includes shrinking, and the first masks shrink a lot at once.
    let adaptation = Adaptation {
        signal: Signal::Jaccard,
        window: 1,
        smoothing: 0.0,
        reference: Reference::Absolute(1e-9),
        ..Adaptation::by(Step(30))
    };
    let ramp = Ramp::new(Curve::Linear, Step(2), Step(20), target).starting_at(Sparsity::new(0.5)?);
    let mut pruner =
        Pruner::builder(params.prunable(), Adaptive::new(ramp, adaptation)?, TOTAL).build()?;
    let mut told = Vec::new();
    for step in 0..5 {
        pruner.begin_step(Step(step))?;
        told.push((pruner.told_feedback().is_some(), pruner.instability().is_some()));
    }
    assert_eq!(told[..3], [(false, false); 3], "dense, dense, and the first masks");
    assert_eq!(told[3..], [(true, true); 2]);
    assert_eq!(pruner.clock(), Some(3.25), "at a quarter since step 3");
    Ok(())
}

#[test]
fn a_schedule_that_may_come_too_late_is_refused() -> Result {
    let (params, target) = (params()?, Sparsity::new(0.9)?);
    let build = |deadline| -> Result<Pruner> {
        let ramp = Ramp::new(Curve::Linear, Step(0), Step(20), target);
        let schedule = Adaptive::new(ramp, Adaptation::by(Step(deadline)))?;
        Ok(Pruner::builder(params.prunable(), schedule, TOTAL).build()?)
    };
    assert!(build(TOTAL - 1).is_ok());
    let error = build(TOTAL).expect_err("one step too late").to_string();
    let last = TOTAL - 1;
    assert!(error.contains(&format!("by step {TOTAL} at the latest, but the last step is {last}")));
    Ok(())
}

#[test]
fn imposing_is_bit_identical_to_gates() -> Result {
    let scope = Scope::new(5, &Device::Cpu);
    let model = Linear::new(&scope.pp("fc"), 12, 9, Init::Uniform)?;
    let params = scope.finish();
    let var: Var = params.get("fc.weight").expect("registered").var.clone();
    let x = Tensor::rand(-1f32, 1.0, (20, 12), &Device::Cpu)?;
    let build = || -> Result<Pruner> {
        let gradient = Constant::new(0.5)?;
        Ok(builder(&params, 0.8)?.gradient(gradient).build()?)
    };
    let dense = var.to_vec2::<f32>()?;

    let gates = build()?.begin_step(Step(TOTAL))?;
    let loss = model.forward(&x, &Pass::train(&gates))?.tensor()?.sqr()?.sum_all()?;
    let gated = loss.backward()?.get(&var).expect("a gradient").to_vec2::<f32>()?;

    let mut pruner = build()?;
    let imposed = pruner.impose(Step(TOTAL))?;
    assert_ne!(var.to_vec2::<f32>()?, dense);
    let same_loss =
        model.forward(&x, &Pass::train(&taper_nn::Gates::NONE))?.tensor()?.sqr()?.sum_all()?;
    assert_eq!(same_loss.to_scalar::<f32>()?, loss.to_scalar::<f32>()?);
    let mut grads = same_loss.backward()?;
    imposed.lift(&mut grads)?;
    assert_eq!(grads.get(&var).expect("a gradient").to_vec2::<f32>()?, gated);
    assert_eq!(var.to_vec2::<f32>()?, dense, "the dense weights are back");

    drop(pruner.impose(Step(TOTAL))?);
    assert_eq!(var.to_vec2::<f32>()?, dense, "dropping puts them back as well");
    Ok(())
}

#[test]
fn a_step_that_falls_is_refused_and_changes_nothing() -> Result {
    let params = params()?;
    let mut pruner = builder(&params, 0.9)?.build()?;
    for step in [0, 3, TOTAL - 1] {
        pruner.begin_step(Step(step))?;
    }
    let before = (pruner.state(), pruner.report());
    let error = pruner.impose(Step(0)).map(|_| ()).unwrap_err().to_string();
    let last = TOTAL - 1;
    assert!(error.contains(&format!("step 0 was begun after step {last}")), "{error}");
    assert_eq!((pruner.state(), pruner.report()), before);
    let mut restored = builder(&params, 0.9)?.build()?;
    restored.restore(pruner.state())?;
    assert!(restored.begin_step(Step(last - 1)).is_err(), "steps go on from a restored one");
    restored.begin_step(Step(last))?;
    restored.begin_step(Step(TOTAL + 5))?;
    assert_eq!(
        pruner.bake()?,
        526 - 53,
        "a step counter that restarts cannot lower the baked sparsity"
    );
    Ok(())
}

#[test]
fn the_first_step_after_restoring_a_pruner_that_began_none_is_no_repetition() -> Result {
    let params = params()?;
    let build = || -> Result<Pruner> {
        let ramp = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::new(0.9)?);
        let adaptation = Adaptation { window: 3, ..Adaptation::by(Step(30)) };
        Ok(Pruner::builder(params.prunable(), Adaptive::new(ramp, adaptation)?, TOTAL).build()?)
    };
    let (mut fresh, mut restored) = (build()?, build()?);
    restored.restore(build()?.state())?;
    fresh.begin_step(Step(0))?;
    restored.begin_step(Step(0))?;
    assert!(fresh.state().told.is_some(), "the masks at the start of the first window");
    assert!(restored.state() == fresh.state());
    Ok(())
}

#[test]
fn a_step_begun_again_is_no_second_observation() -> Result {
    let (params, target) = (params()?, Sparsity::new(0.9)?);
    let build = |window| -> Result<Pruner> {
        let ramp = Ramp::new(Curve::Linear, Step(0), Step(20), target);
        let adaptation = Adaptation {
            window,
            smoothing: 0.5,
            reference: Reference::Absolute(1e-6),
            ..Adaptation::by(Step(30))
        };
        Ok(Pruner::builder(params.prunable(), Adaptive::new(ramp, adaptation)?, TOTAL)
            .probe_at(vec![Step(7)])
            .build()?)
    };
    for window in [1, 3] {
        let (mut once, mut twice) = (build(window)?, build(window)?);
        for step in 0..TOTAL {
            let gates = once.begin_step(Step(step))?;
            for _ in 0..2 {
                assert_eq!(twice.begin_step(Step(step))?, gates, "step {step}");
                assert_eq!(twice.feedback(), once.feedback());
                assert_eq!(twice.told_feedback(), once.told_feedback());
            }
            assert!(twice.state() == once.state(), "step {step}");
            // A pruner that was restored within a step may begin it again as well.
            let mut restored = build(window)?;
            restored.restore(once.state())?;
            restored.begin_step(Step(step))?;
            assert!(restored.state() == once.state(), "step {step}");
            disturb(&params, step)?;
        }
    }
    Ok(())
}

#[test]
fn targets_that_cannot_be_met_are_refused_at_construction() -> Result {
    let params = params()?;
    let none: Vec<(taper_core::LayerInfo, Var)> = Vec::new();
    assert!(
        Pruner::feather(none, Sparsity::new(0.9)?, 10)
            .unwrap_err()
            .to_string()
            .contains("no prunable")
    );
    // 526 weights: one is kept up to 1 − 1/1052.
    for target in [0.9991, 0.99999, 1.0] {
        let error = builder(&params, target)?.build().unwrap_err().to_string();
        let largest = error.split_once("in [0, ").and_then(|(_, end)| end.split_once(']'));
        let largest: f64 = largest.ok_or("a range")?.0.parse()?;
        assert!(error.contains("keeps none of 526 weights"), "{error}");
        assert!((0.99904..0.9991).contains(&largest), "{largest}");
        let mut pruner = builder(&params, largest)?.build()?;
        pruner.begin_step(Step(TOTAL))?;
        assert_eq!(pruner.report().n_kept(), 1);
        assert!(builder(&params, largest.next_up())?.build().is_err());
    }
    // An interpolated threshold over all layers keeps the largest weight, whatever the rounded count. Separate
    // thresholds of layers have the counts of the layers.
    let interpolated = |target| {
        Ok::<_, Box<dyn std::error::Error>>(
            builder(&params, target)?.quantile(Quantile::Interpolated),
        )
    };
    let mut pruner = interpolated(0.99999)?.build()?;
    pruner.begin_step(Step(TOTAL))?;
    assert_eq!(pruner.report().n_kept(), 1);
    let error = interpolated(1.0)?.build().unwrap_err().to_string();
    assert!(error.contains("[0, 0.9999999999999999]"), "{error}");
    let error = interpolated(0.99999)?.allocation(allocation::Uniform).build().unwrap_err();
    assert!(error.to_string().contains("in [0, 0.99904"), "{error}");
    let pin = allocation::Pin { pattern: "conv.weight".into(), at_most: Sparsity::DENSE };
    let pinned = allocation::Pinned { inner: Box::new(allocation::Global), pins: vec![pin] };
    let error = builder(&params, 0.9)?.allocation(pinned).build().unwrap_err().to_string();
    assert!(error.contains("216 weights"), "{error}");
    Ok(())
}

#[test]
fn one_shot_pruning_waits_for_its_step() -> Result {
    let params = params()?;
    let schedule = Ramp::new(Curve::OneShot, Step(3), Step(9), Sparsity::new(0.5)?);
    let mut pruner = Pruner::builder(params.prunable(), schedule, TOTAL).build()?;
    pruner.begin_step(Step(2))?;
    assert_eq!(pruner.report().sparsity(), Sparsity::DENSE);
    pruner.begin_step(Step(3))?;
    assert_eq!(pruner.report().n_kept(), 263);
    Ok(())
}

#[test]
fn sampled_blocks_depend_on_the_step_and_the_seed() -> Result {
    let keys = |seed: u64| -> Result<Vec<u64>> {
        let params = params()?;
        let update = PrunedUpdate::Sampled { share: 0.25, seed };
        let mut pruner = builder(&params, 0.9)?.pruned_update(update).build()?;
        let mut keys = Vec::new();
        for step in 1..20 {
            let gates = pruner.begin_step(Step(step))?;
            keys.push(gates.get(LayerId(0)).and_then(|gate| gate.sampling).ok_or("sampled")?.key);
        }
        Ok(keys)
    };
    let (one, other) = (keys(0)?, keys(1)?);
    assert_eq!(one, keys(0)?);
    let all: std::collections::BTreeSet<u64> = one.iter().chain(&other).copied().collect();
    assert_eq!(all.len(), 2 * one.len(), "no key occurs twice");
    Ok(())
}

#[test]
fn a_live_set_is_the_kept_weights_and_a_margin_of_them() -> Result {
    let params = params()?;
    let update = PrunedUpdate::Live { margin: 0.5 };
    let mut pruner = builder(&params, 0.9)?.pruned_update(update).build()?;
    for step in 1..TOTAL {
        pruner.begin_step(Step(step))?;
        let n_kept = pruner.report().n_kept() as f64;
        let n = pruner.report().n_weights() as f64;
        assert_eq!(pruner.n_live() as f64, (1.5 * n_kept).ceil().min(n), "step {step}");
    }
    Ok(())
}

#[test]
fn a_live_set_has_the_kept_weights_of_held_masks() -> Result {
    let params = params()?;
    let cadence = Cadence::every(5)?;
    let pruner = builder(&params, 0.9)?.pruned_update(PrunedUpdate::Live { margin: 0.0 });
    let mut pruner = pruner.threshold(Threshold::Hard).renewal(TopK { cadence }).build()?;
    pruner.begin_step(Step(30))?;
    // All kept weights become smaller than all pruned ones.
    let state = pruner.state();
    for ((_, var), words) in params.prunable().zip(state.masks) {
        let mask = Mask::from_words(words, var.elem_count()).ok_or("a mask")?;
        let values: Vec<f32> =
            (0..var.elem_count()).map(|i| if mask.is_kept(i) { 1e-3 } else { 1.0 }).collect();
        var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu)?)?;
    }
    let gates = pruner.begin_step(Step(31))?;
    for (i, _) in params.prunable().enumerate() {
        let gate = gates.get(LayerId(i)).ok_or("a gate")?;
        let live = gate.live.as_ref().ok_or("a live set")?;
        assert_eq!(gate.mask.difference(live).n_kept(), 0, "layer {i}");
    }
    Ok(())
}

#[test]
fn an_annealed_gradient_scale_falls_with_the_steps() -> Result {
    let params = params()?;
    let annealed = Falling::new(Fall::Linear, 0.0)?.over(Over::Training);
    let mut pruner = builder(&params, 0.9)?.gradient(annealed).build()?;
    for (step, factor) in [(10, 0.75), (30, 0.25), (TOTAL, 0.0), (TOTAL + 5, 0.0)] {
        let gates = pruner.begin_step(Step(step))?;
        let gate = gates.get(LayerId(0)).ok_or("a gate")?;
        assert_eq!((gate.grad_at_zero, gate.grad_at_cut), (factor, factor), "step {step}");
    }
    Ok(())
}

#[test]
fn parameters_out_of_range_are_refused() -> Result {
    let params = params()?;
    let flow = || SynFlow { rounds: 100 };
    let criteria: [(Box<dyn Criterion>, &str); 9] = [
        (Box::new(GradientEma { beta: 1.0 }), "the EMA coefficient is 1, outside [0, 1)"),
        (Box::new(Fisher { beta: f32::NAN }), "the EMA coefficient is NaN"),
        (Box::new(Mest { lambda: -1.0 }), "the factor on the gradient is -1"),
        (Box::new(Grasp { per_class: 0, temperature: 1.0 }), "there are 0 images per class"),
        (Box::new(Grasp { per_class: 1, temperature: 0.0 }), "the temperature is 0"),
        (Box::new(SynFlow { rounds: 0 }), "in 0 rounds"),
        (Box::new(Inverted { of: Box::new(flow()) }), "in 100 rounds, so its order"),
        (Box::new(Inverted { of: Box::new(Mest { lambda: -1.0 }) }), "the factor on the gradient"),
        (Box::new(Normalised { of: Box::new(SynFlow { rounds: 0 }) }), "in 0 rounds"),
    ];
    for (criterion, said) in criteria {
        let built = builder(&params, 0.9)?.threshold(Threshold::Hard).renewal(Hold);
        let error = built.criterion(criterion).build().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let given = |density| allocation::Given { densities: vec![("conv.*".into(), density)] };
    let allocations: [(Box<dyn allocation::Allocation>, &str); 4] = [
        (Box::new(allocation::Erk { power: f64::NAN }), "the power is NaN"),
        (Box::new(allocation::Erk { power: f64::INFINITY }), "the power is inf"),
        (Box::new(given(0.0)), "the density of conv.* is 0; give a number above 0"),
        (Box::new(given(f64::NAN)), "the density of conv.* is NaN"),
    ];
    for (allocation, said) in allocations {
        let error = builder(&params, 0.9)?.allocation(allocation).build().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let empty = Blocks { rows: 2, columns: 0 };
    let hard = || Result::Ok(builder(&params, 0.9)?.threshold(Threshold::Hard));
    for built in [hard()?.structure(empty), hard()?.structure(MaxBlocks(empty))] {
        let error = built.build().unwrap_err().to_string();
        assert!(error.contains("blocks of 2 × 0 weights are empty"), "{error}");
    }
    Ok(())
}
