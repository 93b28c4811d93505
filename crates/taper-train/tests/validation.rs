//! Validation images: each epoch is measured on them, and the training steps do not change.

use candle_core::Device;
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_train::{Callbacks, CrossEntropy, Outcome, Progress, Recipe, Run, evaluate, train};

#[test]
fn epochs_are_measured_on_held_out_images_without_changing_the_steps()
-> Result<(), Box<dyn std::error::Error>> {
    let data = Dataset::open("digits", &OpenOptions { limit: Some(120), ..Default::default() })?;
    let (rest, held_out) = data.train.hold_out(24)?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(16, Augment::None, normalisation.clone(), 0);
    let batches = Loader::new(rest, config)?;
    let evaluated = LoaderConfig::evaluation(64, normalisation);
    let validation = Loader::new(held_out, evaluated.clone())?;
    let test = Loader::new(data.test.clone(), evaluated)?;
    let mut histories = Vec::new();
    for is_held_out in [false, true] {
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
        let recipe = Recipe { epochs: 3, eval_every: 2, ..Recipe::default() };
        let mut run = Run::new(&*model, None, &batches, &test, recipe, &Device::Cpu);
        run.validation = is_held_out.then_some(&validation);
        let outcome = train(&mut run, Progress::default(), &mut Callbacks::default(), None)?;
        let Outcome::Finished(progress) = outcome else { return Err("stopped".into()) };
        let last = *progress.history.last().ok_or("no epoch")?;
        let gates = taper_nn::Gates::NONE;
        let loss = CrossEntropy::default();
        let on_validation =
            evaluate(&*model, &gates, &validation, &loss, &Device::Cpu, &run.kernels)?;
        let on_test = run.test_now()?;
        let (expected, others) = match is_held_out {
            true => (on_validation, [last.test_loss, last.test_accuracy]),
            false => (on_test, [last.validation_loss, last.validation_accuracy]),
        };
        assert_eq!(last.choice_accuracy(), expected.accuracy);
        assert!(others.iter().all(|v| v.is_nan()));
        // The first epoch was not evaluated.
        assert!(progress.history[0].choice_accuracy().is_nan());
        histories.push((progress.history, on_test));
    }
    let [(without, test_without), (with, test_with)] = &histories[..] else { unreachable!() };
    assert_eq!(test_without, test_with, "the same weights");
    for (a, b) in without.iter().zip(with) {
        assert_eq!((a.train_loss, a.grad_norm), (b.train_loss, b.grad_norm));
    }
    Ok(())
}
