//! Custom optimizers, learning rates and losses, in runs and in their checkpoints.

use candle_core::{Device, Result as Computed, Tensor};
use candle_nn::optim::SGD;
use std::{error::Error, path::Path};
use taper_core::Sparsity;
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_nn::Model;
use taper_prune::{DropPolicy, DropRule, Pruner};
use taper_schedule::Ramp;
use taper_train::{
    AdamW, Callback, Callbacks, EpochEvent, Flow, FromCandle, Ham, Optimizer, Progress, Recipe,
    Run, Sgd, StepDecay, TrainError,
    checkpoint::{Checkpoints, TensorFile, TrainingCheckpoint},
    train,
};

struct Data {
    train: Loader,
    test: Loader,
}

impl Data {
    fn new() -> Result<Self, Box<dyn Error>> {
        let data = Dataset::open("digits", &OpenOptions { limit: Some(64), ..Default::default() })?;
        let normalisation = data.normalisation.clone();
        let config = LoaderConfig::train(16, Augment::None, normalisation.clone(), 0);
        Ok(Self {
            train: Loader::new(data.train.clone(), config)?,
            test: Loader::new(data.test.clone(), LoaderConfig::evaluation(64, normalisation))?,
        })
    }

    /// A run of two epochs of four steps, in which weights are dropped.
    fn run<'a>(
        &'a self,
        model: &'a dyn Model,
        optimizer: Box<dyn Optimizer>,
    ) -> Result<Run<'a>, Box<dyn Error>> {
        let recipe = Recipe { epochs: 2, ..Recipe::default() };
        let ramp = Ramp::feather(Sparsity::new(0.9)?, 8);
        let pruner = Pruner::builder(model.params().prunable(), ramp, 8)
            .drop(DropPolicy::constant(DropRule::Smallest, 0.5))
            .build()?;
        let mut run = Run::new(model, Some(pruner), &self.train, &self.test, recipe, &Device::Cpu);
        run.optimizer = optimizer;
        run.learning_rate = Box::new(StepDecay { lr: 0.01, milestones: vec![3, 6], factor: 0.5 });
        Ok(run)
    }
}

fn model() -> Result<Box<dyn Model>, Box<dyn Error>> {
    Ok(taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?)
}

fn bits(model: &dyn Model) -> Computed<Vec<u32>> {
    let values = model.params().trained().map(|(entry, _)| entry.var.flatten_all()?.to_vec1());
    let values: Vec<Vec<f32>> = values.collect::<Computed<_>>()?;
    Ok(values.concat().into_iter().map(f32::to_bits).collect())
}

/// Ends a run after its first epoch.
struct OneEpoch;

impl Callback for OneEpoch {
    fn epoch(&mut self, _event: &EpochEvent) -> Result<Flow, TrainError> {
        Ok(Flow::Stop)
    }
}

/// Runs one epoch with `optimizer`, stops, and writes a checkpoint to `folder`.
fn stopped(
    data: &Data,
    optimizer: Box<dyn Optimizer>,
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let model = model()?;
    let mut checkpoints = Checkpoints::new(folder, serde_json::json!({}))?;
    let mut callbacks = Callbacks::default().with(OneEpoch);
    let mut run = data.run(&*model, optimizer)?;
    train(&mut run, Progress::default(), &mut callbacks, Some(&mut checkpoints))?;
    Ok(())
}

/// Resumes the checkpoint, and returns the final weights.
fn resumed(
    data: &Data,
    optimizer: Box<dyn Optimizer>,
    checkpoint: &TrainingCheckpoint,
) -> Result<Vec<u32>, Box<dyn Error>> {
    let model = model()?;
    let mut run = data.run(&*model, optimizer)?;
    let progress = checkpoint.restore(&mut run)?;
    assert_eq!(progress.step, 4);
    train(&mut run, progress, &mut Callbacks::default(), None)?;
    Ok(bits(&*model)?)
}

fn uninterrupted(data: &Data, optimizer: Box<dyn Optimizer>) -> Result<Vec<u32>, Box<dyn Error>> {
    let model = model()?;
    let mut run = data.run(&*model, optimizer)?;
    train(&mut run, Progress::default(), &mut Callbacks::default(), None)?;
    Ok(bits(&*model)?)
}

fn latest(folder: &Path) -> Result<TrainingCheckpoint, Box<dyn Error>> {
    let checkpoints = Checkpoints::new(folder, serde_json::json!({}))?;
    Ok(checkpoints.latest()?.ok_or("no checkpoint")?)
}

type Make = fn() -> Box<dyn Optimizer>;

#[test]
fn every_optimizer_resumes_bit_for_bit_and_rejects_other_states() -> Result<(), Box<dyn Error>> {
    let data = Data::new()?;
    let makes: [Make; 4] = [
        || Box::new(Sgd::new(0.9, 5e-4).nesterov(true)),
        || Box::new(AdamW::new(0.01)),
        || Box::new(Ham::new(Sgd::new(0.9, 5e-4).dampening(0.5)).alpha(2.0)),
        || Box::new(Ham::new(AdamW::new(0.01)).alpha(2.0)),
    ];
    let mut ends = Vec::new();
    for (i, make) in makes.iter().enumerate() {
        let folder = tempfile::tempdir()?;
        stopped(&data, make(), folder.path())?;
        let checkpoint = latest(folder.path())?;
        let end = uninterrupted(&data, make())?;
        assert_eq!(resumed(&data, make(), &checkpoint)?, end, "{}", make().name());
        assert!(!ends.contains(&end), "{}", make().name());
        ends.push(end);

        let other = makes[(i + 1) % makes.len()]();
        let (saved, given) = (make().name(), other.name());
        let error = resumed(&data, other, &checkpoint).unwrap_err().to_string();
        let wanted = format!(
            "the checkpoint was saved with optimizer {saved}, and this run has {given}; resume with {saved}, or begin a new run"
        );
        assert_eq!(error, wanted);
    }
    Ok(())
}

#[test]
fn checkpoints_without_an_optimizer_name_are_read_as_sgd() -> Result<(), Box<dyn Error>> {
    let data = Data::new()?;
    let folder = tempfile::tempdir()?;
    let sgd: Make = || Box::new(Sgd::new(0.9, 5e-4));
    stopped(&data, sgd(), folder.path())?;
    let path = folder.path().join("step-00000004.safetensors");
    let mut file = TensorFile::load(&path)?;
    file.metadata.remove("optimizer").ok_or("no optimizer")?;
    let tensors = std::mem::take(&mut file.tensors);
    let old = |name: String| name.strip_prefix("optimizer/").map(str::to_owned).unwrap_or(name);
    file.tensors = tensors.into_iter().map(|(name, tensor)| (old(name), tensor)).collect();
    assert!(file.tensors.contains_key("velocity/conv1.weight"));
    file.save(&path)?;
    let checkpoint = latest(folder.path())?;
    assert_eq!(resumed(&data, sgd(), &checkpoint)?, uninterrupted(&data, sgd())?);
    let error = resumed(&data, Box::new(AdamW::new(0.0)), &checkpoint).unwrap_err().to_string();
    assert!(error.contains("saved with optimizer sgd, and this run has adamw"), "{error}");

    for text in ["sgd", "{}", r#"{"name":"sgd"}"#, r#"{"name":"sgd","numbers":{"a":1}}"#] {
        file.metadata.insert("optimizer".into(), text.into());
        file.save(&path)?;
        let error = resumed(&data, sgd(), &latest(folder.path())?).unwrap_err().to_string();
        assert!(error.contains("its `optimizer` is") && error.contains(text), "{error}");
    }
    file.metadata.insert("optimizer".into(), r#"{"name":"sgd","numbers":{}}"#.into());
    let velocity = file.tensors["velocity/conv1.weight"].flatten_all()?;
    file.tensors.insert("optimizer/velocity/conv1.weight".into(), velocity);
    file.save(&path)?;
    let error = resumed(&data, sgd(), &latest(folder.path())?).unwrap_err().to_string();
    assert!(error.contains("velocity of conv1.weight has shape [144]"), "{error}");
    Ok(())
}

#[test]
fn candle_optimizers_train_but_cannot_be_saved_or_reset() -> Result<(), Box<dyn Error>> {
    let data = Data::new()?;
    let model = model()?;
    let before = bits(&*model)?;
    let recipe = Recipe { epochs: 1, ..Recipe::default() };
    let mut run = Run::new(&*model, None, &data.train, &data.test, recipe, &Device::Cpu);
    run.optimizer = Box::new(FromCandle::<SGD>::new(model.params(), 0.0)?);
    let folder = tempfile::tempdir()?;
    let mut checkpoints = Checkpoints::new(folder.path(), serde_json::json!({}))?;
    let mut callbacks = Callbacks::default();
    let refused = train(&mut run, Progress::default(), &mut callbacks, Some(&mut checkpoints));
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("SGD cannot be saved") && error.contains("use Sgd or AdamW"), "{error}");
    assert_eq!(bits(&*model)?, before, "before the first step");
    train(&mut run, Progress::default(), &mut callbacks, None)?;
    assert_ne!(bits(&*model)?, before);

    let mut dropping = data.run(&*model, Box::new(FromCandle::<SGD>::new(model.params(), 0.0)?))?;
    let error = train(&mut dropping, Progress::default(), &mut callbacks, None).unwrap_err();
    assert!(error.to_string().contains("SGD cannot reset the state of weights"), "{error}");
    Ok(())
}

#[test]
fn a_run_uses_a_custom_loss_and_learning_rate() -> Result<(), Box<dyn Error>> {
    /// Squared error against one-hot labels.
    fn squared_error(logits: &Tensor, labels: &Tensor) -> Computed<Tensor> {
        let classes = Tensor::arange(0u32, logits.dim(1)? as u32, logits.device())?;
        let one_hot = labels.unsqueeze(1)?.broadcast_eq(&classes.unsqueeze(0)?)?;
        (logits - one_hot.to_dtype(logits.dtype())?)?.sqr()?.sum(1)?.mean_all()
    }
    let data = Data::new()?;
    let model = model()?;
    let recipe = Recipe { epochs: 4, ..Recipe::default() };
    let mut run = Run::new(&*model, None, &data.train, &data.test, recipe, &Device::Cpu);
    run.loss = Box::new(squared_error);
    run.learning_rate = Box::new(|step: u64| 0.02 / (step + 1) as f64);
    let mut callbacks = Callbacks::default();
    let outcome = train(&mut run, Progress::default(), &mut callbacks, None)?;
    let taper_train::Outcome::Finished(progress) = outcome else { return Err("stopped".into()) };
    let [first, .., last] = &progress.history[..] else { return Err("four epochs".into()) };
    assert_eq!((first.lr, last.lr), (0.005, 0.02 / 16.0));
    assert!(last.train_loss < 0.95 * first.train_loss, "{first:?} {last:?}");
    // With logits of 0, the squared error is 1, and the cross-entropy of ten classes is 2.3.
    assert!(last.test_loss < 1.2, "{last:?}");
    run.loss = Box::new(|logits: &Tensor, _: &Tensor| Ok(logits.clone()));
    let error = train(&mut run, Progress::default(), &mut callbacks, None).unwrap_err();
    assert!(error.to_string().contains("shape [16, 10], but must be a scalar"), "{error}");
    Ok(())
}
