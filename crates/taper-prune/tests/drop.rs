//! Permanently pruned weights: they never move or return, whatever an optimizer or a schedule does.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use taper_core::{LayerId, MaskFeedback, Sparsity, Step, rng::Rng};
use taper_kernels::mask::Mask;
use taper_kernels::threshold::Threshold;
use taper_nn::{Init, ParamKind, Params, Scope};
use taper_prune::{
    DeadFilters, DropPolicy, DropRule, Pruner, PrunerBuilder, criterion::Saliency, renewal::Hold,
};
use taper_schedule::{Cadence, Curve, Ramp, RestoreError, SparsitySchedule, State};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const TOTAL: u64 = 24;
const RULES: [DropRule; 3] = [DropRule::Smallest, DropRule::Longest, DropRule::Random { seed: 5 }];

fn params() -> Result<Params> {
    let scope = Scope::new(3, &Device::Cpu);
    scope.pp("conv").param("weight", (8, 3, 3, 3), ParamKind::ConvWeight, Init::FanOut)?;
    scope.pp("fc").param("weight", (10, 31), ParamKind::LinearWeight, Init::FanOut)?;
    Ok(scope.finish())
}

fn builder(params: &Params, target: f64) -> Result<PrunerBuilder> {
    Ok(Pruner::builder(params.prunable(), Ramp::feather(Sparsity::new(target)?, TOTAL), TOTAL))
}

/// Moves every weight, dropped or not, as an optimizer with momentum would if its state is not reset.
fn disturb(params: &Params, key: [u64; 2]) -> Result {
    for (i, (_, var)) in params.prunable().enumerate() {
        let mut rng = Rng::for_key([key[0], key[1], i as u64]);
        let noise: Vec<f32> = (0..var.elem_count()).map(|_| (rng.normal() * 0.05) as f32).collect();
        var.set(&(var.as_tensor() + Tensor::from_vec(noise, var.dims(), &Device::Cpu)?)?)?;
    }
    Ok(())
}

/// A schedule that falls again, as a user-defined one may.
#[derive(Debug)]
struct Falling;

impl SparsitySchedule for Falling {
    fn sparsity(&self, step: Step) -> Sparsity {
        Sparsity::saturating(match step.0 {
            0..8 => 0.1 * step.0 as f64,
            8..16 => 0.3,
            _ => 0.0,
        })
    }

    fn target(&self) -> Sparsity {
        Sparsity::DENSE
    }

    fn observe(&mut self, _: &MaskFeedback) {}

    fn state(&self) -> State {
        State::default()
    }

    fn restore(&mut self, _: &State) -> std::result::Result<(), RestoreError> {
        Ok(())
    }
}

/// The dropped weights of each layer.
fn dropped(pruner: &Pruner) -> Vec<Mask> {
    let words = pruner.state().dropped.expect("a policy");
    let layers = words.into_iter().zip(pruner.layers());
    layers.map(|(w, info)| Mask::from_words(w, info.n_weights() as usize).expect("fits")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn dropped_weights_never_move_or_return(
        rule in 0usize..3, share in 0.0..=1.0f64, begin in 0u64..12, length in 0u64..12, from in 0.0..0.6f64,
        seed in any::<u64>(), is_falling in any::<bool>(),
    ) {
        let policy = DropPolicy {
            rule: RULES[rule],
            share,
            curve: Curve::Linear,
            begin: Step(begin),
            end: Step(begin + length),
            from: Sparsity::saturating(from),
        };
        let params = params().unwrap();
        let builder = match is_falling {
            true => Pruner::builder(params.prunable(), Falling, TOTAL),
            false => builder(&params, 0.95).unwrap(),
        };
        let mut pruner = builder.drop(policy).build().unwrap();
        let mut before = dropped(&pruner);
        for step in 0..TOTAL {
            let gates = pruner.begin_step(Step(step)).unwrap();
            let now = dropped(&pruner);
            let report = pruner.report();
            let n_pruned = (report.n_weights() - report.n_kept()) as f64;
            let wanted = (policy.share_at(Step(step), pruner.sparsity()) * n_pruned).floor() as u64;
            let n_before: u64 = before.iter().map(Mask::n_kept).sum();
            prop_assert_eq!(report.n_dropped(), wanted.max(n_before), "step {}", step);
            prop_assert_eq!(pruner.forgotten().is_some(), wanted > n_before);
            for (i, (_, var)) in params.prunable().enumerate() {
                prop_assert_eq!(before[i].difference(&now[i]).n_kept(), 0, "a weight came back");
                let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let Some(gate) = gates.get(LayerId(i)) else {
                    prop_assert_eq!(now[i].n_kept(), 0);
                    continue;
                };
                let mut grad = vec![1.0; values.len()];
                gate.scale_grad(&values, &mut grad);
                for index in now[i].kept() {
                    prop_assert_eq!(values[index], 0.0);
                    prop_assert!(!gate.mask.is_kept(index));
                    prop_assert_eq!(grad[index], 0.0);
                }
                let n_live = gate.live.as_ref().map_or(values.len() as u64, |live| live.n_kept());
                prop_assert_eq!(n_live, values.len() as u64 - now[i].n_kept());
            }
            prop_assert_eq!(pruner.n_live(), report.n_weights() - report.n_dropped());
            before = now;
            disturb(&params, [seed, step]).unwrap();
            // An evaluation then keeps as many weights as the step, and no dropped ones.
            let (gates, refreshed) = pruner.refresh_counted().unwrap();
            prop_assert_eq!(refreshed.n_kept(), report.n_kept(), "refreshed after step {}", step);
            for (i, dropped) in before.iter().enumerate().filter(|(_, d)| d.n_kept() > 0) {
                let gate = gates.get(LayerId(i)).expect("a gate");
                prop_assert_eq!(gate.mask.intersection(dropped).n_kept(), 0);
            }
        }
    }
}

#[test]
fn a_share_of_one_is_hard_pruning_and_a_share_of_zero_changes_nothing() -> Result {
    let params = params()?;
    let hard = DropPolicy::constant(DropRule::Smallest, 1.0);
    let mut pruner = builder(&params, 0.9)?.drop(hard).build()?;
    for step in 0..TOTAL {
        let gates = pruner.begin_step(Step(step))?;
        assert_eq!(pruner.feedback().map(|seen| seen.n_entered), Some(0), "step {step}");
        assert_eq!(pruner.n_live(), pruner.report().n_kept());
        // All pruned weights are 0 here; the operator still shrinks, and kept weights stay kept.
        assert_eq!(pruner.cut() > 0.0, step > 0, "step {step}: {}", pruner.cut());
        for (i, (_, var)) in params.prunable().enumerate() {
            let values = var.flatten_all()?.to_vec1::<f32>()?;
            let Some(gate) = gates.get(LayerId(i)) else { continue };
            let n_values = gate.apply(&values).iter().filter(|w| **w != 0.0).count();
            assert_eq!(n_values as u64, gate.mask.n_kept(), "step {step}");
        }
        disturb(&params, [1, step])?;
    }
    let none = DropPolicy::constant(DropRule::Smallest, 0.0);
    let (mut with, mut without) =
        (builder(&params, 0.9)?.drop(none).build()?, builder(&params, 0.9)?.build()?);
    for step in 0..TOTAL {
        assert_eq!(with.begin_step(Step(step))?, without.begin_step(Step(step))?);
        disturb(&params, [2, step])?;
    }
    Ok(())
}

#[test]
fn dropping_may_wait_for_the_target_with_any_rounding_of_counts() -> Result {
    let params = params()?;
    // 526 weights, of which 79 stay at 0.85: a sparsity of 0.8498.
    let target = Sparsity::new(0.85)?;
    let policy = DropPolicy { from: target, ..DropPolicy::constant(DropRule::Smallest, 0.5) };
    let mut pruner = builder(&params, 0.85)?.drop(policy).build()?;
    for step in 0..TOTAL {
        pruner.begin_step(Step(step))?;
        assert_eq!(pruner.report().n_dropped() > 0, step >= TOTAL / 2, "step {step}");
    }
    assert!(pruner.report().sparsity() < target);
    Ok(())
}

#[test]
fn dead_filters_have_no_gradient_only_if_silent() -> Result {
    for (_, choice) in DeadFilters::ALL {
        let params = params()?;
        let (info, conv) = params.prunable().next().expect("a layer");
        // Filter 2 is so small that it is pruned first.
        let mut values = conv.flatten_all()?.to_vec1::<f32>()?;
        values[2 * 27..3 * 27].iter_mut().for_each(|w| *w *= 1e-3);
        conv.set(&Tensor::from_vec(values.clone(), &info.shape[..], &Device::Cpu)?)?;
        let mut pruner = builder(&params, 0.5)?.dead_filters(choice).build()?;
        let gates = pruner.begin_step(Step(TOTAL - 1))?;
        assert_eq!(pruner.dead_filters(), [vec![2], vec![]]);
        assert_eq!((pruner.report().n_filters(), pruner.report().n_dead_filters()), (8, 1));
        let mut grad = vec![1.0; values.len()];
        gates.get(LayerId(0)).expect("a gate").scale_grad(&values, &mut grad);
        let is_silent = grad[2 * 27..3 * 27].iter().all(|&g| g == 0.0);
        let is_rest_live = grad[..2 * 27].iter().chain(&grad[3 * 27..]).all(|&g| g != 0.0);
        assert_eq!((is_silent, is_rest_live), (choice == DeadFilters::Silent, true), "{choice:?}");
        assert_eq!(pruner.n_live(), 216 + 310 - if is_silent { 27 } else { 0 });
    }
    Ok(())
}

#[test]
fn a_pruner_with_drops_and_probes_continues_from_a_saved_state() -> Result {
    let params = params()?;
    let policy = DropPolicy::constant(DropRule::Longest, 0.6);
    let probes = vec![Step(6), Step(14)];
    let build = || -> Result<Pruner> {
        Ok(builder(&params, 0.9)?.drop(policy).probe_at(probes.clone()).build()?)
    };
    let (mut old, mut new) = (build()?, build()?);
    for step in 0..10 {
        old.begin_step(Step(step))?;
        disturb(&params, [3, step])?;
    }
    new.restore(old.state())?;
    assert_eq!(new.state(), old.state());
    for step in 10..TOTAL {
        assert_eq!(old.begin_step(Step(step))?, new.begin_step(Step(step))?, "step {step}");
        assert_eq!(new.state(), old.state());
        disturb(&params, [3, step])?;
    }
    assert_eq!(new.fates()?, old.fates()?);
    let mut damaged = old.state();
    damaged.probes[0].codes[0][0] = 230;
    let refused = build()?.restore(damaged).unwrap_err().to_string();
    assert!(refused.contains("unknown code"), "{refused}");
    let other = builder(&params, 0.9)?.build()?.restore(old.state());
    assert!(other.unwrap_err().to_string().contains("another drop policy"));
    let unfollowed = DropPolicy::constant(DropRule::Smallest, 0.6);
    let other = builder(&params, 0.9)?.drop(unfollowed).build()?.restore(old.state());
    assert!(other.unwrap_err().to_string().contains("ages of other weights"));
    Ok(())
}

#[test]
fn fates_count_every_weight_that_was_pruned() -> Result {
    let params = params()?;
    let mut pruner = builder(&params, 0.8)?.probe_at(vec![Step(6), Step(18)]).build()?;
    let mut n_pruned = Vec::new();
    for step in 0..TOTAL {
        pruner.begin_step(Step(step))?;
        if step == 6 || step == 18 {
            n_pruned.push(pruner.report().n_weights() - pruner.report().n_kept());
        }
        disturb(&params, [4, step])?;
    }
    let fates = pruner.fates()?;
    for (step, n_pruned) in [6, 18].into_iter().zip(n_pruned) {
        let here: Vec<_> = fates.iter().filter(|fate| fate.step == Step(step)).collect();
        assert_eq!(here.iter().map(|fate| fate.n_pruned).sum::<u64>(), n_pruned);
        assert!(here.iter().all(|fate| fate.n_kept <= fate.n_back && fate.n_back <= fate.n_pruned));
        let n_back: u64 = here.iter().map(|fate| fate.n_back).sum();
        assert!(n_back > 0, "with this much noise some weights return");
        // Weights close to the threshold return more often than those far from it.
        let share = |deciles: std::ops::Range<usize>| {
            let of = here.iter().filter(|fate| deciles.contains(&fate.decile));
            let (n, back) = of.fold((0, 0), |(n, back), f| (n + f.n_pruned, back + f.n_back));
            back as f64 / n as f64
        };
        assert!(share(7..10) > share(0..3), "{} {}", share(7..10), share(0..3));
    }
    // A probe before anything is pruned has no entries.
    let mut early = builder(&params, 0.8)?.probe_at(vec![Step(0)]).build()?;
    early.begin_step(Step(0))?;
    assert!(early.fates()?.is_empty());
    Ok(())
}

#[test]
fn an_impossible_share_is_refused() -> Result {
    for share in [-0.1, 1.1, f64::NAN] {
        let policy = DropPolicy::constant(DropRule::Smallest, share);
        let error = builder(&params()?, 0.9)?.drop(policy).build().unwrap_err();
        assert!(error.to_string().contains("outside [0, 1]"), "{error}");
    }
    Ok(())
}

#[test]
fn a_policy_begins_while_masks_are_held() -> Result {
    let params = params()?;
    let schedule = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::new(0.5)?);
    let policy = DropPolicy {
        begin: Step(10),
        end: Step(10),
        ..DropPolicy::constant(DropRule::Longest, 1.0)
    };
    let mut pruner = Pruner::builder(params.prunable(), schedule, TOTAL)
        .threshold(Threshold::Hard)
        .renewal(Hold)
        .drop(policy)
        .build()?;
    for step in 0..TOTAL {
        pruner.begin_step(Step(step))?;
        let report = pruner.report();
        let n_pruned = report.n_weights() - report.n_kept();
        assert_eq!(report.n_dropped(), if step < 10 { 0 } else { n_pruned }, "step {step}");
    }
    Ok(())
}

/// A ramp that counts what it observes.
#[derive(Debug)]
struct Counting(Ramp, Arc<AtomicU64>);

impl SparsitySchedule for Counting {
    fn sparsity(&self, step: Step) -> Sparsity {
        SparsitySchedule::sparsity(&self.0, step)
    }

    fn target(&self) -> Sparsity {
        SparsitySchedule::target(&self.0)
    }

    fn observe(&mut self, _: &MaskFeedback) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        State::default()
    }

    fn restore(&mut self, _: &State) -> std::result::Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn masks_that_gradients_choose_are_observed_and_drop_weights() -> Result {
    let params = params()?;
    let n_observed = Arc::new(AtomicU64::new(0));
    let ramp = Ramp::new(Curve::Linear, Step(0), Step(16), Sparsity::new(0.8)?);
    let mut pruner = Pruner::builder(params.prunable(), Counting(ramp, n_observed.clone()), TOTAL)
        .threshold(Threshold::Hard)
        .criterion(Saliency)
        .cadence(Cadence::every(4)?)
        .drop(DropPolicy::constant(DropRule::Random { seed: 0 }, 1.0))
        .build()?;
    for step in 0..TOTAL {
        // The second time, the step is begun again, and its masks are not observed again.
        for _ in 0..2 {
            let pruned = pruner.impose(Step(step))?;
            let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
            for (_, var) in params.prunable() {
                loss = (loss + var.sqr()?.sum_all()?)?;
            }
            let mut grads = loss.backward()?;
            pruned.lift(&mut grads)?;
        }
        let report = pruner.report();
        assert_eq!(report.n_dropped(), report.n_weights() - report.n_kept(), "step {step}");
    }
    // Steps 8, 12, 16 and 20; the first masks that prune, at step 4, are no change.
    assert_eq!(n_observed.load(Ordering::Relaxed), 4);
    Ok(())
}
