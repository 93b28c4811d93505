//! Methods that measure the network before training, and dense and sparse phases, in the training loop.

use candle_core::{Device, Result, Tensor};
use taper_core::{Sparsity, Step};
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{Init, Linear, Model, Params, Pass, Scope};
use taper_prune::{
    GradientOracle, Pruner, PrunerBuilder, Remainder, Sample,
    criterion::{Criterion, Grasp, SynFlow},
    renewal::Hold,
};
use taper_schedule::{Curve, Phases, Ramp, SparsitySchedule};
use taper_train::{ModelOracle, Recipe, Run};

type Anyhow<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn loaders() -> Anyhow<[Loader; 2]> {
    let data = Dataset::open("digits", &OpenOptions { limit: Some(96), ..Default::default() })?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(16, Augment::Shift, normalisation.clone(), 0);
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(64, normalisation))?;
    Ok([Loader::new(data.train.clone(), config)?, test])
}

fn builder(model: &dyn Model, schedule: impl SparsitySchedule + 'static) -> PrunerBuilder {
    Pruner::builder(model.params().prunable(), schedule, 12)
        .threshold(Threshold::Hard)
        .renewal(Hold)
        .remainder(Remainder::zero())
}

/// Runs the steps of two epochs; calls `check` after each.
fn run(model: &dyn Model, pruner: Pruner, mut check: impl FnMut(u64, &Run) -> Anyhow) -> Anyhow {
    let [batches, test] = loaders()?;
    let recipe = Recipe { epochs: 2, ..Recipe::default() };
    let mut run = Run::new(model, Some(pruner), &batches, &test, recipe, &Device::Cpu);
    let steps = (0..2).flat_map(|epoch| batches.epoch(epoch));
    for (step, batch) in (0..).zip(steps) {
        run.step(Step(step), batch, 0.05)?;
        check(step, &run)?;
    }
    Ok(())
}

fn masks(pruner: &Pruner) -> Vec<Mask> {
    let words = pruner.state().masks.into_iter().zip(pruner.layers());
    words
        .map(|(words, info)| Mask::from_words(words, info.n_weights() as usize).expect("fits"))
        .collect()
}

/// The weights of each layer, and their velocities.
fn weights(run: &Run) -> Anyhow<Vec<[Vec<f32>; 2]>> {
    let state = run.optimizer.state(run.model.params())?;
    let layers = run.model.params().prunable().map(|(info, var)| {
        let values = var.flatten_all()?.to_vec1()?;
        let velocity = match state.tensors.get(&format!("velocity/{}", info.name)) {
            Some(velocity) => velocity.flatten_all()?.to_vec1()?,
            None => vec![0.0; values.len()],
        };
        Ok([values, velocity])
    });
    Ok(layers.collect::<Result<_>>()?)
}

#[test]
fn masks_are_chosen_before_the_first_step_and_held() -> Anyhow {
    let criteria: [Box<dyn Criterion>; 2] =
        [Box::new(Grasp { per_class: 3, ..Grasp::default() }), Box::new(SynFlow { rounds: 5 })];
    let mut found = Vec::new();
    for criterion in criteria {
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
        let target = Sparsity::new(0.9)?;
        let once = Ramp::new(Curve::OneShot, Step(0), Step(0), target);
        let pruner = builder(&*model, once).criterion(criterion).build()?;
        let mut first = None;
        run(&*model, pruner, |step, run| {
            let pruner = run.pruner.as_ref().expect("a pruner");
            let now = masks(pruner);
            let first = first.get_or_insert_with(|| now.clone());
            assert_eq!((pruner.report().n_kept(), &now), (2382, &*first), "step {step}");
            for ([values, velocity], mask) in weights(run)?.iter().zip(&now) {
                let pruned = Mask::full(mask.len()).difference(mask);
                assert!(pruned.kept().all(|i| values[i] == 0.0 && velocity[i] == 0.0));
            }
            Ok(())
        })?;
        found.extend(first);
    }
    assert_ne!(found[0], found[1]);
    Ok(())
}

#[test]
fn weights_pruned_in_a_sparse_phase_have_neither_value_nor_velocity() -> Anyhow {
    let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
    let target = Sparsity::new(0.9)?;
    let (begin, end) = (Step(2), Step(9));
    let phases = Phases { target, begin, sparse: 2, dense: 2, last_dense: 3, end };
    let mut sparse = String::new();
    let mut held: Option<Vec<Mask>> = None;
    run(&*model, builder(&*model, phases).build()?, |step, run| {
        let pruner = run.pruner.as_ref().expect("a pruner");
        let is_dense = pruner.sparsity().is_dense();
        sparse.push(if is_dense { '.' } else { 'x' });
        let now = masks(pruner);
        let n_kept: u64 = now.iter().map(Mask::n_kept).sum();
        assert_eq!(n_kept, if is_dense { 23_824 } else { 2382 }, "step {step}");
        for ([values, velocity], mask) in weights(run)?.iter().zip(&now) {
            let pruned = Mask::full(mask.len()).difference(mask);
            assert!(pruned.kept().all(|i| values[i] == 0.0 && velocity[i] == 0.0), "step {step}");
        }
        if let Some(held) = held.as_ref().filter(|_| !is_dense) {
            assert_eq!(held, &now, "step {step}");
        }
        held = (!is_dense).then_some(now);
        Ok(())
    })?;
    assert_eq!(sparse, "..xx.....xxx");
    Ok(())
}

/// Two layers, and between them a candle operation: the square.
struct Squared(Linear, Linear, Params);

impl Model for Squared {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let hidden = self.0.forward(images.flatten_from(1)?, pass)?.tensor()?.sqr()?;
        self.1.forward(hidden, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.2
    }
}

#[test]
fn candle_operations_between_layers_have_no_directional_derivatives() -> Anyhow {
    let scope = Scope::new(0, &Device::Cpu);
    let layer = |name: &str, i, o| Linear::new(&scope.pp(name), i, o, Init::Uniform);
    let model = Squared(layer("a", 64, 4)?, layer("b", 4, 10)?, scope.finish());
    let [batches, _] = loaders()?;
    let device = Device::Cpu;
    let mut oracle = ModelOracle::new(&model, &batches, &device);
    let sample = Sample { per_class: 2, temperature: 1.0 };
    let gradient = oracle.gradient(&sample)?;
    let error = oracle.curvature(&sample, &gradient).unwrap_err().to_string();
    assert!(error.contains("uses candle operations between its layers"), "{error}");
    let none = oracle.gradient(&Sample { per_class: 0, temperature: 1.0 }).unwrap_err();
    assert!(none.to_string().contains("no training image"), "{none}");
    Ok(())
}
