//! Prune-and-regrow, masks chosen by gradients, and pruned weights at 0: computed by hand on one small layer.

use candle_core::{Device, Tensor, Var};
use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_prune::{
    Changed, DropPolicy, DropRule, InitialScale, Momentum, Pruner, PrunerBuilder, Remainder,
    criterion::{Gradient, Magnitude, Mest, Random, Saliency},
    renewal::{GrowInit, Hold, InitialValue, Swap, SwapDecay, TopK, TopKHold},
};
use taper_scale::Constant;
use taper_schedule::{Cadence, Curve, Ramp};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const WEIGHTS: [f32; 8] = [0.8, -0.1, 0.3, -0.7, 0.2, 0.6, -0.5, 0.4];

fn constant(sparsity: f64) -> Ramp {
    Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::saturating(sparsity))
}

/// A layer of two rows.
struct One {
    var: Var,
}

impl One {
    fn new() -> Result<Self> {
        Ok(Self { var: Var::from_slice(&WEIGHTS, (2, 4), &Device::Cpu)? })
    }

    fn builder(&self, sparsity: f64) -> PrunerBuilder {
        self.of(constant(sparsity), 100)
    }

    fn of(&self, schedule: Ramp, total: u64) -> PrunerBuilder {
        let info =
            LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![2, 4] };
        let builder = Pruner::builder([(info, self.var.clone())], schedule, total);
        builder.threshold(Threshold::Hard)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.var.flatten_all()?.to_vec1()?)
    }

    /// A step with a learning rate of 0.1 and without momentum. The gradient with respect to each pruned weight is
    /// `slope`. Returns what changed, and the gradient of the dense weights.
    fn step(
        &self,
        pruner: &mut Pruner,
        step: u64,
        slope: &[f32; 8],
    ) -> Result<(Changed, Vec<f32>)> {
        let pruned = pruner.impose(Step(step))?;
        let slope = Tensor::from_slice(slope, (2, 4), &Device::Cpu)?;
        let mut grads = (self.var.as_tensor() * slope)?.sum_all()?.backward()?;
        let changed = pruned.lift(&mut grads)?;
        let grad = grads.get(&self.var).ok_or("no gradient")?;
        let values = grad.flatten_all()?.to_vec1()?;
        if !changed.is_skipped {
            self.var.set(&(self.var.as_tensor() - (grad * 0.1)?)?)?;
        }
        Ok((changed, values))
    }
}

fn kept(pruner: &Pruner) -> Vec<usize> {
    let words = pruner.state().masks.remove(0);
    Mask::from_words(words, 8).expect("a mask of eight").kept().collect()
}

fn forgotten(changed: &Changed) -> Vec<usize> {
    changed.forgotten.iter().flatten().flat_map(|mask| mask.kept().collect::<Vec<_>>()).collect()
}

fn swap(share: f64, grow: impl taper_prune::criterion::Criterion + 'static) -> Swap {
    let (decay, grow) = (SwapDecay::Constant, Some(Box::new(grow) as _));
    Swap { every: 2, share, decay, end: Step(5), grow, ..Swap::default() }
}

#[test]
fn the_smallest_leave_and_those_of_the_largest_gradient_enter() -> Result {
    let one = One::new()?;
    let builder = one.builder(0.5).remainder(Remainder::zero());
    let mut pruner = builder.renewal(swap(0.5, Gradient)).build()?;
    let slope = [0.0, 3.0, 1.0, 0.0, -2.0, 1.0, 0.0, 0.5];
    // The four largest are kept, and the others are 0 from now on.
    let (changed, grad) = one.step(&mut pruner, 0, &slope)?;
    assert_eq!((kept(&pruner), forgotten(&changed)), (vec![0, 3, 5, 6], vec![1, 2, 4, 7]));
    assert_eq!(grad, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(one.weights()?, [0.8, 0.0, 0.0, -0.7, 0.0, 0.5, -0.5, 0.0]);
    let (changed, _) = one.step(&mut pruner, 1, &slope)?;
    assert_eq!(changed, Changed::default());
    assert_eq!(one.weights()?, [0.8, 0.0, 0.0, -0.7, 0.0, 0.4, -0.5, 0.0]);
    // Two of four are replaced, and the optimizer skips the step.
    let (changed, _) = one.step(&mut pruner, 2, &slope)?;
    assert_eq!((kept(&pruner), forgotten(&changed)), (vec![0, 1, 3, 4], vec![1, 4, 5, 6]));
    assert!(changed.is_skipped);
    assert_eq!(one.weights()?, [0.8, 0.0, 0.0, -0.7, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(pruner.feedback().map(|seen| (seen.n_entered, seen.n_left)), Some((2, 2)));
    // Regrown weights learn from 0 on.
    one.step(&mut pruner, 3, &slope)?;
    assert_eq!(one.weights()?, [0.8, -0.3, 0.0, -0.7, 0.2, 0.0, 0.0, 0.0]);
    // Now the regrown weights are the smallest; the one with the largest gradient stays.
    one.step(&mut pruner, 4, &slope)?;
    assert_eq!(kept(&pruner), [0, 1, 3, 4]);
    // From `end` on there are no updates.
    let (changed, _) = one.step(&mut pruner, 6, &[9.0; 8])?;
    assert!(!changed.is_skipped && kept(&pruner) == [0, 1, 3, 4]);
    Ok(())
}

/// Has a score too few.
#[derive(Debug)]
struct Short;

impl taper_prune::criterion::Criterion for Short {
    fn scores<'a>(&self, layer: &taper_prune::criterion::View<'a>) -> std::borrow::Cow<'a, [f32]> {
        layer.weights[1..].into()
    }
}

#[test]
fn a_growth_criterion_must_score_each_weight() -> Result {
    let one = One::new()?;
    let builder = one.builder(0.5).remainder(Remainder::zero());
    let mut pruner = builder.renewal(swap(0.5, Short)).build()?;
    one.step(&mut pruner, 0, &[1.0; 8])?;
    let error = one.step(&mut pruner, 2, &[1.0; 8]).expect_err("seven scores").to_string();
    assert!(error.contains("has 8 weights, but scores of 7 values"), "{error}");
    Ok(())
}

#[test]
fn random_growth_skips_no_step() -> Result {
    let one = One::new()?;
    let mut pruner = one
        .builder(0.5)
        .remainder(Remainder::zero())
        .renewal(swap(0.25, Random { seed: 1 }))
        .build()?;
    for step in 0..2 {
        one.step(&mut pruner, step, &[1.0; 8])?;
    }
    let before = kept(&pruner);
    let (changed, grad) = one.step(&mut pruner, 2, &[1.0; 8])?;
    let now = kept(&pruner);
    assert!(!changed.is_skipped && now.len() == 4);
    let left: Vec<usize> = before.iter().copied().filter(|index| !now.contains(index)).collect();
    // Either the smallest has left, or it was sampled again.
    assert!(left.iter().all(|&index| index == 6) && left.len() == forgotten(&changed).len() / 2);
    assert!(left.iter().all(|&index| grad[index] == 0.0));
    assert!((0..8).all(|i| now.contains(&i) || one.weights().unwrap()[i] == 0.0));
    Ok(())
}

#[test]
fn a_score_of_weight_and_gradient_decides_which_weights_leave() -> Result {
    let one = One::new()?;
    let builder = one.builder(0.5).remainder(Remainder::zero()).criterion(Mest { lambda: 1.0 });
    let begin: Option<Box<dyn taper_prune::criterion::Criterion>> = Some(Box::new(Magnitude));
    let mut pruner = builder.renewal(Swap { begin, ..swap(0.25, Random { seed: 3 }) }).build()?;
    let none = [0.0; 8];
    one.step(&mut pruner, 0, &none)?;
    one.step(&mut pruner, 1, &none)?;
    // Scores are 0.8, 0.7, 0.6 + 0 and 0.5 + 2: the third weight leaves.
    let (changed, _) = one.step(&mut pruner, 2, &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0])?;
    assert!(changed.is_skipped && [0, 3, 6].iter().all(|index| kept(&pruner).contains(index)));
    Ok(())
}

#[test]
fn masks_are_chosen_by_the_first_gradients_if_the_criterion_needs_them() -> Result {
    let one = One::new()?;
    let builder = one.builder(0.75).remainder(Remainder::zero()).criterion(Saliency);
    let mut pruner = builder.renewal(Hold).build()?;
    // |w·g| is 0.08, 0.2, 0.3, 0.07, 0, 0.06, 0.5, 0.
    let slope = [0.1, 2.0, -1.0, 0.1, 0.0, 0.1, 1.0, 0.0];
    let (changed, grad) = one.step(&mut pruner, 0, &slope)?;
    assert!(changed.is_skipped && grad == slope);
    assert_eq!(kept(&pruner), [2, 6]);
    assert_eq!(one.weights()?, [0.0, 0.0, 0.3, 0.0, 0.0, 0.0, -0.5, 0.0]);
    let (changed, _) = one.step(&mut pruner, 1, &[5.0; 8])?;
    assert_eq!((kept(&pruner), changed.is_skipped), (vec![2, 6], false));
    assert_eq!(pruner.refresh_counted()?.1.n_kept(), 2);
    Ok(())
}

#[test]
fn the_gradient_of_pruned_weights_is_decayed() -> Result {
    let one = One::new()?;
    let mut pruner = one.builder(0.5).remainder(Remainder::decayed(0.5)).build()?;
    let (_, grad) = one.step(&mut pruner, 0, &[1.0; 8])?;
    assert_eq!(grad, [1.0, 0.95, 1.15, 1.0, 1.1, 1.0, 1.0, 1.2]);
    // Without decay the gradient stays as it is.
    let mut other = one.builder(0.5).gradient(Constant::new(1.0)?).build()?;
    assert_eq!(one.step(&mut other, 0, &[1.0; 8])?.1, [1.0; 8]);
    Ok(())
}

#[test]
fn first_masks_may_be_chosen_by_gradients_and_later_ones_by_weights() -> Result {
    let one = One::new()?;
    let begin: Option<Box<dyn taper_prune::criterion::Criterion>> = Some(Box::new(Gradient));
    let builder = one.builder(0.5).remainder(Remainder::zero());
    let mut pruner = builder.renewal(Swap { begin, ..swap(0.5, Gradient) }).build()?;
    let (changed, _) = one.step(&mut pruner, 0, &[0.0, 4.0, -3.0, 0.0, 2.0, 0.0, 0.0, 1.0])?;
    assert!(changed.is_skipped);
    assert_eq!(kept(&pruner), [1, 2, 4, 7]);
    Ok(())
}

/// Two steps without prune-and-regrow, and one with it.
fn three_steps(one: &One, renewal: Swap) -> Result<(Pruner, Changed, Vec<f32>)> {
    let builder = one.builder(0.5).remainder(Remainder::zero());
    let mut pruner = builder.renewal(renewal).build()?;
    let slope = [0.0, 3.0, 1.0, 0.0, -2.0, 1.0, 0.0, 0.5];
    one.step(&mut pruner, 0, &slope)?;
    one.step(&mut pruner, 1, &slope)?;
    let (changed, grad) = one.step(&mut pruner, 2, &slope)?;
    Ok((pruner, changed, grad))
}

fn of_eight(kept: &[usize]) -> Mask {
    let mut mask = Mask::empty(8);
    kept.iter().for_each(|&index| mask.set(index, true));
    mask
}

#[test]
fn regrown_weights_start_with_the_given_value_and_momentum() -> Result {
    let one = One::new()?;
    let value = InitialValue::Gradient;
    let grow_init = Some(GrowInit { value, divisor: 2.0, momentum: 0.25, seed: 0 });
    let (pruner, changed, _) = three_steps(&one, Swap { grow_init, ..swap(0.5, Gradient) })?;
    assert_eq!(kept(&pruner), [0, 1, 3, 4]);
    assert_eq!(one.weights()?, [0.8, 1.5, 0.0, -0.7, -1.0, 0.0, 0.0, 0.0]);
    let momentum = Momentum { weights: of_eight(&[1, 4]), values: vec![0.75, -0.5] };
    assert_eq!(changed.momentum, Some(vec![momentum]));
    assert!(changed.is_skipped && forgotten(&changed) == [1, 4, 5, 6]);
    // With random growth the gradient is also read, and the optimizer skips the step.
    let one = One::new()?;
    let (pruner, changed, _) =
        three_steps(&one, Swap { grow_init, ..swap(0.5, Random { seed: 4 }) })?;
    assert!(changed.is_skipped && kept(&pruner).len() == 4);
    // The initial values of the run, including those of weights that were pruned at once.
    let one = One::new()?;
    let grow_init = Some(GrowInit { value: InitialValue::Initial, seed: 5, ..GrowInit::default() });
    let (_, changed, _) = three_steps(&one, Swap { grow_init, ..swap(0.5, Gradient) })?;
    let begun = [1, 4].map(|index| one.weights().unwrap()[index]);
    assert!(begun.iter().all(|w| WEIGHTS.contains(w)) && begun[0] != begun[1], "{begun:?}");
    assert_eq!(changed.momentum, None);
    Ok(())
}

#[test]
fn initial_weights_are_scaled_once_for_the_first_masks() -> Result {
    let one = One::new()?;
    let scaled = |criterion: Box<dyn taper_prune::criterion::Criterion>| {
        let builder = one.builder(0.625).remainder(Remainder::zero()).criterion(criterion);
        builder.renewal(Hold).initial_scale(InitialScale::FanIn)
    };
    let mut pruner = scaled(Box::new(Magnitude)).build()?;
    // Two of four weights of the first row are kept, and one of the second.
    let root = 2f32.sqrt();
    for step in 0..2 {
        one.step(&mut pruner, step, &[0.0; 8])?;
        let wanted = [0.8 * root, 0.0, 0.0, -0.7 * root, 0.0, 1.2, 0.0, 0.0];
        assert_eq!(one.weights()?, wanted, "{step}");
    }
    let saved = pruner.state();
    let mut resumed = scaled(Box::new(Magnitude)).build()?;
    resumed.restore(saved)?;
    one.step(&mut resumed, 1, &[0.0; 8])?;
    assert_eq!(one.weights()?[5], 1.2);
    // The same with masks that are chosen by the first gradients.
    let other = One::new()?;
    let builder = other.builder(0.5).remainder(Remainder::zero()).criterion(Saliency);
    let mut pruner = builder.renewal(Hold).initial_scale(InitialScale::Layer).build()?;
    other.step(&mut pruner, 0, &[1.0; 8])?;
    assert_eq!(
        other.weights()?,
        [0.8 * root, 0.0, 0.0, -0.7 * root, 0.0, 0.6 * root, -0.5 * root, 0.0]
    );
    for (builder, part) in [
        (one.builder(0.5), "the mask update rule"),
        (scaled(Box::new(Magnitude)).threshold(Threshold::FEATHER), "the operator"),
    ] {
        let builder = builder.initial_scale(InitialScale::Layer);
        let refused = builder.build().map(drop).unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
    Ok(())
}

#[test]
fn without_growth_the_smallest_are_reset_and_masks_stay() -> Result {
    let one = One::new()?;
    let again = |grow_init| Swap { grow: None, grow_init, ..swap(0.5, Gradient) };
    let (pruner, changed, grad) = three_steps(&one, again(None))?;
    assert_eq!((kept(&pruner), forgotten(&changed)), (vec![0, 3, 5, 6], vec![5, 6]));
    assert_eq!(one.weights()?, [0.8, 0.0, 0.0, -0.7, 0.0, 0.0, 0.0, 0.0]);
    assert!(!changed.is_skipped && grad == [0.0; 8]);
    let one = One::new()?;
    let grow_init = Some(GrowInit { value: InitialValue::Uniform, ..GrowInit::default() });
    three_steps(&one, again(grow_init))?;
    let now = one.weights()?;
    let bound = (0.8 + 0.7 + 0.4 + 0.5) / 4.0;
    assert!([5, 6].iter().all(|&i| now[i] != 0.0 && now[i].abs() <= bound), "{now:?}");
    assert_eq!(now[..5], [0.8, 0.0, 0.0, -0.7, 0.0]);
    Ok(())
}

#[test]
fn masks_exceed_a_soft_bound_only_between_updates() -> Result {
    let one = One::new()?;
    let builder = one.builder(0.5).remainder(Remainder::zero());
    let mut pruner = builder.renewal(Swap { is_soft: true, ..swap(0.5, Gradient) }).build()?;
    let slope = [0.0, 3.0, 1.0, 0.0, -2.0, 1.0, 0.0, 0.5];
    let mut counts = Vec::new();
    for step in 0..7 {
        one.step(&mut pruner, step, &slope)?;
        counts.push(kept(&pruner).len());
        assert_eq!(pruner.sparsity(), Sparsity::of(counts[step as usize] as u64, 8));
        // Weights that enter at step 2 are 0 at first, and learn in step 3.
        match step {
            2 => assert_eq!(kept(&pruner), [0, 1, 3, 4, 5, 6]),
            3 => assert_eq!(one.weights()?[..5], [0.8, -0.3, 0.0, -0.7, 0.2]),
            _ => {}
        }
    }
    assert_eq!(counts, [4, 4, 6, 6, 6, 4, 4]);
    let late = Swap { is_soft: true, end: Step(100), ..swap(0.5, Gradient) };
    let refused = one.builder(0.5).remainder(Remainder::zero()).renewal(late).build();
    let refused = refused.map(drop).unwrap_err().to_string();
    assert!(refused.contains("the soft bound and the end of prune-and-regrow"), "{refused}");
    Ok(())
}

#[test]
fn masks_after_the_first_ones_are_chosen_by_the_gradients_of_the_criterion() -> Result {
    let one = One::new()?;
    let info = LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![2, 4] };
    let ramp = Ramp::new(Curve::Linear, Step(0), Step(2), Sparsity::new(0.5)?);
    let ramp = ramp.starting_at(Sparsity::new(0.25)?);
    let begin: Option<Box<dyn taper_prune::criterion::Criterion>> = Some(Box::new(Saliency));
    let renewal = Swap { begin, end: Step(1), ..swap(0.5, Gradient) };
    let builder = Pruner::builder([(info, one.var.clone())], ramp, 100).threshold(Threshold::Hard);
    let mut pruner = builder.criterion(Gradient).renewal(renewal).build()?;
    let slope = [1.04, 1.03, 1.02, 1.01, 1.0, 1.0, 1.0, 1.0];
    for step in 0..3 {
        one.step(&mut pruner, step, &slope)?;
    }
    assert_eq!(kept(&pruner), [0, 1, 2, 3]);
    Ok(())
}

#[test]
fn a_step_of_sparsity_zero_is_not_skipped() -> Result {
    let one = One::new()?;
    let info = LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![2, 4] };
    let late = Ramp::new(Curve::OneShot, Step(2), Step(2), Sparsity::new(0.5)?);
    let builder = Pruner::builder([(info, one.var.clone())], late, 100).threshold(Threshold::Hard);
    let builder = builder.cadence(taper_schedule::Cadence::every(2)?);
    let mut pruner = builder.criterion(Saliency).build()?;
    let mut is_skipped = |step| {
        Ok::<_, Box<dyn std::error::Error>>(one.step(&mut pruner, step, &[1.0; 8])?.0.is_skipped)
    };
    assert_eq!([is_skipped(0)?, is_skipped(1)?, is_skipped(2)?], [false, false, true]);
    Ok(())
}

#[test]
fn no_more_weights_are_replaced_than_are_pruned() -> Result {
    let one = One::new()?;
    let builder = one.builder(0.25).remainder(Remainder::zero()).renewal(swap(0.5, Gradient));
    let mut pruner = builder.build()?;
    let slope = [0.0, 8.0, 4.0, 0.0, 8.0, 0.0, 0.0, 0.0];
    one.step(&mut pruner, 0, &[0.0; 8])?;
    one.step(&mut pruner, 2, &slope)?;
    // Only two weights are pruned, so only two of six are replaced instead of three.
    assert_eq!(kept(&pruner), [0, 1, 3, 4, 5, 6]);
    Ok(())
}

#[test]
fn dropped_weights_neither_enter_nor_are_chosen_again() -> Result {
    let drop = || DropPolicy::constant(DropRule::Random { seed: 0 }, 1.0);
    let one = One::new()?;
    let mut swapped = one.builder(0.5).drop(drop()).renewal(swap(0.5, Gradient)).build()?;
    one.step(&mut swapped, 0, &[1.0; 8])?;
    let before = kept(&swapped);
    for step in 1..5 {
        one.step(&mut swapped, step, &[1.0; 8])?;
        assert_eq!(kept(&swapped), before);
    }

    let one = One::new()?;
    let mut pruner = one.builder(0.5).drop(drop()).criterion(Random { seed: 1 }).build()?;
    one.step(&mut pruner, 0, &[1.0; 8])?;
    let before = kept(&pruner);
    for step in 1..5 {
        one.step(&mut pruner, step, &[1.0; 8])?;
        assert_eq!(kept(&pruner), before);
    }
    // A user's optimizer may move them.
    one.var.set(&Tensor::full(9f32, (2, 4), &Device::Cpu)?)?;
    pruner.refresh()?;
    let weights = one.weights()?;
    assert!((0..8).all(|i| (weights[i] == 9.0) == before.contains(&i)), "{weights:?}");
    Ok(())
}

#[test]
fn first_masks_are_those_of_the_first_sparsity_even_if_they_keep_all_weights() -> Result {
    let one = One::new()?;
    let info = LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![2, 4] };
    // 5 % of eight weights is none.
    let [few, half] = [0.05, 0.5].map(Sparsity::saturating);
    let ramp = Ramp::new(Curve::Linear, Step(0), Step(2), half).starting_at(few);
    let begin: Option<Box<dyn taper_prune::criterion::Criterion>> = Some(Box::new(Gradient));
    let mut pruner = Pruner::builder([(info, one.var.clone())], ramp, 100)
        .threshold(Threshold::Hard)
        .remainder(Remainder::zero())
        .criterion(Saliency)
        .renewal(Swap { begin, ..swap(0.5, Gradient) })
        .build()?;
    one.step(&mut pruner, 0, &[0.0; 8])?;
    one.step(&mut pruner, 1, &[0.0; 8])?;
    assert_eq!((kept(&pruner).len(), pruner.sparsity()), (8, few));
    // By |w·g|: 0, 0.9, 0.3, 0, 1.6, 0.6, 0.5, 0.4. By |g|, weight 2 would be kept rather than weight 6.
    let (changed, _) = one.step(&mut pruner, 2, &[0.0, 9.0, 1.0, 0.0, 8.0, 1.0, 1.0, 1.0])?;
    assert_eq!((kept(&pruner), changed.is_skipped), (vec![1, 4, 5, 6], true));
    Ok(())
}

#[test]
fn prune_and_regrow_continues_from_a_saved_state() -> Result {
    let slope = |step: u64| std::array::from_fn(|i| ((i as u64 * 5 + step * 3) % 7) as f32 - 3.0);
    let begun = |value| Some(GrowInit { value, momentum: 0.5, seed: 2, ..GrowInit::default() });
    let renewals: [&dyn Fn() -> Swap; 4] = [
        &|| swap(0.5, Gradient),
        &|| Swap { grow_init: begun(InitialValue::Initial), ..swap(0.5, Gradient) },
        &|| Swap { is_soft: true, grow_init: begun(InitialValue::Normal), ..swap(0.5, Gradient) },
        &|| Swap { grow: None, ..swap(0.5, Gradient) },
    ];
    for renewal in renewals {
        let run = |restart: bool| -> Result<(Vec<f32>, Vec<usize>)> {
            let one = One::new()?;
            let build = || {
                let builder = one.builder(0.5).remainder(Remainder::zero());
                let renewal = Swap { decay: SwapDecay::Cosine, end: Step(9), ..renewal() };
                builder.renewal(renewal).build()
            };
            let mut pruner = build()?;
            for step in 0..10 {
                one.step(&mut pruner, step, &slope(step))?;
                if restart && step == 4 {
                    let state = pruner.state();
                    pruner = build()?;
                    pruner.restore(state)?;
                }
            }
            Ok((one.weights()?, kept(&pruner)))
        };
        assert_eq!(run(false)?, run(true)?);
    }
    Ok(())
}

#[test]
fn prune_and_regrow_state_of_another_rule_is_refused() -> Result {
    let one = One::new()?;
    let value = InitialValue::Initial;
    let grow_init = Some(GrowInit { value, ..GrowInit::default() });
    let of = |renewal| one.builder(0.5).remainder(Remainder::zero()).renewal(renewal).build();
    let (exceeding, ..) = three_steps(&one, Swap { is_soft: true, ..swap(0.5, Gradient) })?;
    let (remembering, ..) = three_steps(&one, Swap { grow_init, ..swap(0.5, Gradient) })?;
    let refuse = |renewal, state| -> Result<String> {
        Ok(of(renewal)?.restore(state).unwrap_err().to_string())
    };
    let plain = || swap(0.5, Gradient);
    assert!(refuse(plain(), exceeding.state())?.contains("saved with a soft bound"));
    assert!(refuse(plain(), remembering.state())?.contains("other initial values"));
    let mut state = exceeding.state();
    state.budget = Some(vec![4, 4]);
    let soft = Swap { is_soft: true, ..plain() };
    assert!(refuse(soft, state)?.contains("for other layers"));
    let mut state = remembering.state();
    state.initial = Some(vec![vec![0.0; 7]]);
    assert!(refuse(Swap { grow_init, ..plain() }, state)?.contains("other initial values"));
    Ok(())
}

#[test]
fn choices_that_exclude_each_other_are_refused() -> Result {
    let one = One::new()?;
    let refusal = |builder: PrunerBuilder| builder.build().map(drop).unwrap_err().to_string();
    let zero = || one.builder(0.5).remainder(Remainder::zero());
    let shrinking = zero().threshold(Threshold::FEATHER).renewal(swap(0.5, Gradient));
    assert!(
        refusal(shrinking).contains("hard"),
        "{}",
        refusal(zero().threshold(Threshold::Soft).renewal(Hold))
    );
    assert!(
        refusal(zero().pruned_update(taper_prune::PrunedUpdate::EveryNth(2))).contains("leave one")
    );
    assert!(refusal(one.builder(0.5).remainder(Remainder::decayed(f32::NAN))).contains("NaN"));
    let every_step = Swap { every: 1, ..swap(0.5, Gradient) };
    let refused = refusal(zero().renewal(every_step));
    assert!(refused.contains("many steps in a row") && refused.contains("growth"), "{refused}");
    let refused = refusal(one.builder(0.5).criterion(Saliency));
    assert!(refused.contains("the criterion and the steps of mask updates"), "{refused}");
    let refused =
        refusal(one.builder(0.5).threshold(Threshold::Soft).criterion(Random { seed: 0 }));
    assert!(refused.contains("the operator and the criterion"), "{refused}");
    let lambda = Remainder { penalty: -1.0, ..Remainder::near(1.0) };
    assert!(refusal(one.builder(0.5).remainder(lambda)).contains("the penalty is -1"));
    for (share, every) in [(0.0, 2), (1.5, 2), (f64::NAN, 2), (0.5, 0)] {
        let refused = refusal(zero().renewal(Swap { every, ..swap(share, Gradient) }));
        assert!(refused.contains("prune-and-regrow"), "{refused}");
    }
    Ok(())
}

#[test]
fn restoring_forgets_an_unfinished_step() -> Result {
    let one = One::new()?;
    let every = Cadence::every(4)?;
    let builder = || one.builder(0.5).criterion(Saliency).renewal(TopK { cadence: every });
    let mut pruner = builder().build()?;
    for step in 0..3 {
        one.step(&mut pruner, step, &[1.0; 8])?;
    }
    let state = pruner.state();
    // Step 4 would choose masks by its gradient, but has no backward pass.
    drop(pruner.impose(Step(4))?);
    pruner.restore(state)?;
    let before = kept(&pruner);
    let (changed, _) = one.step(&mut pruner, 3, &[9.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0])?;
    assert!(!changed.is_skipped, "masks are held until step 4");
    assert_eq!(kept(&pruner), before);
    Ok(())
}

#[test]
fn rules_that_skip_many_steps_in_a_row_are_refused_wherever_they_do() -> Result {
    let one = One::new()?;
    let ramp = |end| Ramp::new(Curve::Linear, Step(0), Step(end), Sparsity::saturating(0.5));
    let on_ramp = |end| one.of(ramp(end), 100);
    let is_refused = |builder: PrunerBuilder| {
        builder.build().is_err_and(|error| error.to_string().contains("many steps in a row"))
    };
    let late = |every| Swap { every, from: Step(40), end: Step(90), ..swap(0.5, Gradient) };
    assert!(is_refused(one.builder(0.5).renewal(late(1))));
    assert!(one.builder(0.5).renewal(late(2)).build().is_ok());
    // Held masks that follow a ramp step by step.
    let top_k = |every| TopKHold { cadence: Cadence::every(every).expect("a cadence") };
    assert!(is_refused(on_ramp(50).criterion(Saliency).renewal(Hold)));
    assert!(is_refused(on_ramp(50).criterion(Saliency).renewal(top_k(1))));
    // The target is reached between two updates.
    assert!(on_ramp(51).criterion(Saliency).renewal(top_k(2)).build().is_ok());
    assert!(on_ramp(51).criterion(Magnitude).renewal(top_k(1)).build().is_ok());
    // Long runs whose schedule begins late.
    let every = |every| TopK { cadence: Cadence::every(every).expect("a cadence") };
    for total in [450_000, 1 << 30] {
        let begin = Step(total / 4);
        let late = Ramp::new(Curve::Linear, begin, Step(total / 2), Sparsity::saturating(0.5));
        let run = |cadence| one.of(late, total).criterion(Saliency).renewal(every(cadence));
        assert!(is_refused(run(1)));
        assert!(run(2).build().is_ok());
    }
    // Nothing is swapped before the schedule prunes.
    let late = Ramp::new(Curve::OneShot, Step(10), Step(10), Sparsity::saturating(0.5));
    let early = Swap { every: 1, end: Step(9), ..swap(0.5, Gradient) };
    assert!(one.of(late, 100).renewal(early).build().is_ok());
    Ok(())
}

#[test]
fn a_probe_counts_weights_regrown_in_its_own_step() -> Result {
    let one = One::new()?;
    let remainder = Remainder::zero();
    let builder = one.builder(0.5).remainder(remainder).renewal(swap(0.5, Gradient));
    let mut pruner = builder.probe_at(vec![Step(2)]).build()?;
    let slope = [0.0, 3.0, 1.0, 0.0, -2.0, 1.0, 0.0, 0.5];
    for step in 0..4 {
        one.step(&mut pruner, step, &slope)?;
    }
    assert_eq!(kept(&pruner), [0, 1, 3, 4], "weights 1 and 4 entered at step 2");
    // They leave again, for 2 and 7.
    let slope = [0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 9.0];
    one.step(&mut pruner, 4, &slope)?;
    assert_eq!(kept(&pruner), [0, 2, 3, 7]);
    let fates = pruner.fates()?;
    let sum = |count: fn(&taper_prune::Fate) -> u64| fates.iter().map(count).sum::<u64>();
    // Of the pruned weights 1, 2, 4 and 7, all have been kept since, and 2 and 7 are kept now.
    let found = (sum(|f| f.n_pruned), sum(|f| f.n_back), sum(|f| f.n_kept));
    assert_eq!(found, (4, 4, 2));
    Ok(())
}
