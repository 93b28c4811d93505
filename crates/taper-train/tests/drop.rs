//! Permanently pruned weights have no value, no gradient and no momentum during training.

use candle_core::Device;
use taper_core::{LayerInfo, Sparsity};
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_kernels::mask::Mask;
use taper_prune::{DropPolicy, DropRule, Pruner};
use taper_schedule::Ramp;
use taper_train::{Callback, Callbacks, Flow, Progress, Recipe, Run, StepEvent, TrainError, train};

/// Checks that the number of dropped weights never falls.
struct OnlyGrows(u64);

impl Callback for OnlyGrows {
    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        let n_dropped = event.pruner.map_or(0, |pruner| pruner.report().n_dropped());
        assert!(n_dropped >= self.0, "step {}", event.step);
        self.0 = n_dropped;
        Ok(Flow::Continue)
    }
}

#[test]
fn dropped_weights_have_neither_value_nor_momentum() -> Result<(), Box<dyn std::error::Error>> {
    let data = Dataset::open("digits", &OpenOptions { limit: Some(96), ..Default::default() })?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(16, Augment::None, normalisation.clone(), 0);
    let batches = Loader::new(data.train.clone(), config)?;
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(64, normalisation))?;
    let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
    let recipe = Recipe { epochs: 3, ..Recipe::default() };
    let total = recipe.total_steps(&batches);
    let ramp = Ramp::feather(Sparsity::new(0.9)?, total);
    let pruner = Pruner::builder(model.params().prunable(), ramp, total)
        .drop(DropPolicy::constant(DropRule::Smallest, 0.5))
        .build()?;
    let mut run = Run::new(&*model, Some(pruner), &batches, &test, recipe, &Device::Cpu);
    train(&mut run, Progress::default(), &mut Callbacks::default().with(OnlyGrows(0)), None)?;

    let pruner = run.pruner.as_ref().expect("a pruner");
    let layers: Vec<LayerInfo> = pruner.layers().cloned().collect();
    let dropped = pruner.state().dropped.expect("a policy");
    let is_prunable = |entry: &taper_nn::Entry| entry.kind.is_some_and(|kind| kind.is_prunable());
    let state = run.optimizer.state(model.params())?;
    let weights = model.params().entries().iter().filter(|entry| is_prunable(entry));
    let mut n_dropped = 0;
    for (entry, (info, words)) in weights.zip(layers.iter().zip(dropped)) {
        assert_eq!(entry.name, info.name);
        let values = entry.var.flatten_all()?.to_vec1::<f32>()?;
        let velocity = &state.tensors[&format!("velocity/{}", entry.name)];
        let velocity = velocity.flatten_all()?.to_vec1::<f32>()?;
        let mask = Mask::from_words(words, values.len()).expect("fits");
        for index in mask.kept() {
            assert_eq!((values[index], velocity[index]), (0.0, 0.0), "{} [{index}]", entry.name);
        }
        n_dropped += mask.n_kept();
    }
    let n_pruned = pruner.report().n_weights() - pruner.report().n_kept();
    assert_eq!(n_dropped, n_pruned / 2);
    Ok(())
}
