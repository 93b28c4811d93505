//! A step of a run does what its pruner asks of the optimizer.

use candle_core::{Device, Tensor};
use taper_core::{Sparsity, Step};
use taper_data::{Augment, Batch, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{Gates, Model, Pass};
use taper_prune::{
    DeadFilters, Pruner, PrunerBuilder, Remainder,
    allocation::Uniform,
    operator::LearnedThreshold,
    renewal::{GrowInit, InitialValue, Swap, SwapDecay},
};
use taper_scale::Constant;
use taper_schedule::{Curve, Ramp};
use taper_train::{Recipe, Run, clip_factor};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs `act` with a run on the digits that is sparse from a step on, and one of its batches.
fn with_run<T>(
    (sparsity, from): (f64, Step),
    recipe: Recipe,
    choose: impl FnOnce(PrunerBuilder) -> PrunerBuilder,
    act: impl FnOnce(&mut Run, &Batch) -> Result<T>,
) -> Result<T> {
    let data = Dataset::open("digits", &OpenOptions { limit: Some(64), ..Default::default() })?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(64, Augment::None, normalisation.clone(), 0);
    let batches = Loader::new(data.train.clone(), config)?;
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(64, normalisation))?;
    let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
    let at_once = Ramp::new(Curve::OneShot, from, from, Sparsity::new(sparsity)?);
    let builder = Pruner::builder(model.params().prunable(), at_once, 100).allocation(Uniform);
    let pruner = choose(builder).build()?;
    let mut run = Run::new(&*model, Some(pruner), &batches, &test, recipe, &Device::Cpu);
    let batch = batches.epoch(0).next().ok_or("a batch")?;
    act(&mut run, &batch)
}

fn weights(model: &dyn Model) -> Result<Vec<Vec<f32>>> {
    model.params().prunable().map(|(_, var)| Ok(var.flatten_all()?.to_vec1()?)).collect()
}

fn masks(run: &Run) -> Result<Vec<Mask>> {
    let masks = run.pruner.as_ref().ok_or("a pruner")?.state().masks;
    let sizes = run.model.params().prunable().map(|(_, var)| var.elem_count());
    let masks = masks.into_iter().zip(sizes);
    masks.map(|(words, n)| Mask::from_words(words, n).ok_or_else(|| "a mask".into())).collect()
}

/// Gradient clipping alone: no momentum and no weight decay.
fn clipped(clip_norm: Option<f64>) -> Recipe {
    Recipe { clip_norm, momentum: 0.0, weight_decay: 0.0, ..Recipe::default() }
}

#[test]
fn a_step_whose_gradients_choose_masks_moves_no_weight_and_begins_regrown_ones() -> Result {
    let after = |momentum: f32| {
        let grow = GrowInit { value: InitialValue::Zero, divisor: 1.0, momentum, seed: 0 };
        let swap = Swap {
            every: 3,
            share: 0.5,
            decay: SwapDecay::Constant,
            grow_init: Some(grow),
            ..Swap::default()
        };
        let choose = |builder: PrunerBuilder| {
            builder.threshold(Threshold::Hard).remainder(Remainder::zero()).renewal(swap)
        };
        with_run((0.9, Step(0)), Recipe::default(), choose, |run, batch| {
            for step in 0..3 {
                run.step(Step(step), batch.clone(), 0.1)?;
            }
            let (before, kept_before) = (weights(run.model)?, masks(run)?);
            run.step(Step(3), batch.clone(), 0.1)?;
            let (now, kept) = (weights(run.model)?, masks(run)?);
            let (mut n_stayed, mut n_entered) = (0, 0);
            for layer in 0..now.len() {
                for i in kept[layer].kept() {
                    if kept_before[layer].is_kept(i) && before[layer][i] == now[layer][i] {
                        n_stayed += 1;
                    } else {
                        // Weights that leave and return at once are also reset.
                        assert_eq!(now[layer][i], 0.0, "layer {layer}, weight {i}");
                        n_entered += 1;
                    }
                }
            }
            assert!(n_stayed > 1000 && n_entered > 500, "{n_stayed} {n_entered}");
            run.step(Step(4), batch.clone(), 0.1)?;
            weights(run.model)
        })
    };
    assert_ne!(after(0.0)?, after(5.0)?, "regrown weights begin with a momentum");
    Ok(())
}

#[test]
fn learned_thresholds_learn_from_clipped_gradients() -> Result {
    let learned = |clip_norm: Option<f64>| {
        let operator = LearnedThreshold::new(-4.0, 0.0, 0.0);
        let choose = |builder: PrunerBuilder| builder.operator(operator);
        with_run((0.0, Step(0)), clipped(clip_norm), choose, |run, batch| {
            let norm = run.step(Step(0), batch.clone(), 0.1)?.norm.all;
            // Each layer has its parameter and its velocity.
            let state = run.pruner.as_ref().ok_or("a pruner")?.state().operator;
            Ok((norm, state.chunks(2).map(|layer| f64::from(layer[1])).collect::<Vec<_>>()))
        })
    };
    let ((norm, whole), (_, clipped)) = (learned(None)?, learned(Some(0.01))?);
    let factor = clip_factor(norm, 0.01);
    assert!(factor < 0.1 && whole.iter().any(|v| v.abs() > 1e-6), "{factor} {whole:?}");
    for (clipped, whole) in clipped.iter().zip(&whole) {
        assert!((clipped - factor * whole).abs() <= 1e-4 * (factor * whole).abs(), "{clipped}");
    }
    Ok(())
}

#[test]
fn dead_filters_are_clipped_apart_from_all_other_weights() -> Result {
    // The changes of the weights outside and inside of dead filters, and the norms of their gradients.
    let moved = |clip_norm: Option<f64>, choice: DeadFilters| {
        let choose = |builder: PrunerBuilder| {
            let builder = builder.threshold(Threshold::Hard).dead_filters(choice);
            builder.gradient(Constant::new(1.0).expect("a factor"))
        };
        with_run((0.98, Step(4)), clipped(None), choose, |run, batch| {
            // A dead filter has a gradient if the bias of its batch norm is above 0.
            for step in 0..4 {
                run.step(Step(step), batch.clone(), 0.1)?;
            }
            run.recipe.clip_norm = clip_norm;
            let before = weights(run.model)?;
            let norm = run.step(Step(4), batch.clone(), 0.1)?.norm;
            let dead = run.pruner.as_ref().ok_or("a pruner")?.dead_filters();
            let mut moved = [Vec::new(), Vec::new()];
            let layers = run.model.params().prunable().zip(weights(run.model)?).zip(before);
            for ((((_, var), now), before), dead) in layers.zip(dead) {
                let of_filter = var.elem_count() / var.dims()[0];
                for (i, (now, before)) in now.iter().zip(before).enumerate() {
                    let is_dead = dead.contains(&(i / of_filter));
                    moved[usize::from(is_dead)].push(f64::from(*now) - f64::from(before));
                }
            }
            Ok((norm, moved))
        })
    };
    let (norm, whole) = moved(None, DeadFilters::Unclipped)?;
    let (_, apart) = moved(Some(0.01), DeadFilters::Unclipped)?;
    let (_, together) = moved(Some(0.01), DeadFilters::Reference)?;
    assert!(norm.dead > 0.02 && norm.live() > 0.02, "{norm:?}");
    // The factor that best maps `whole` to `these`, by least squares.
    let factor = |these: &[f64], whole: &[f64]| {
        let dot = |a: &[f64]| a.iter().zip(whole).map(|(a, b)| a * b).sum::<f64>();
        dot(these) / dot(whole)
    };
    for (part, norm_of_part) in [norm.live(), norm.dead].into_iter().enumerate() {
        let wanted = clip_factor(norm_of_part, 0.01);
        let found = factor(&apart[part], &whole[part]);
        assert!((found / wanted - 1.0).abs() < 1e-3, "part {part}: {found}, not {wanted}");
        let wanted = clip_factor(norm.all, 0.01);
        let found = factor(&together[part], &whole[part]);
        assert!((found / wanted - 1.0).abs() < 1e-3, "part {part}: {found}, not {wanted}");
    }
    Ok(())
}

#[test]
fn predictions_are_counted_on_the_weights_before_the_update() -> Result {
    with_run(
        (0.9, Step(50)),
        Recipe::default(),
        |builder| builder,
        |run, batch| {
            let images = Tensor::from_slice(&batch.images, &batch.dims()[..], &Device::Cpu)?;
            let mut counts = Vec::new();
            for step in 0..8 {
                let logits = run.model.forward(&images, &Pass::train(&Gates::NONE))?;
                let predicted = logits.argmax(1)?.to_vec1::<u32>()?;
                let pairs = predicted.iter().zip(&batch.labels);
                let n_correct = pairs.filter(|(found, label)| found == label).count() as u64;
                let done = run.step(Step(step), batch.clone(), 0.1)?;
                assert_eq!((done.n_correct, done.n_images), (n_correct, 64), "step {step}");
                counts.push(n_correct);
            }
            assert!(counts[0] < counts[7], "{counts:?}");
            Ok(())
        },
    )
}
