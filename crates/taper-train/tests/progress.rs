//! Impossible progress in a checkpoint is an error.

use candle_core::Device;
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_train::{Callbacks, Outcome, Progress, Recipe, Run, TrainError, train};

#[test]
fn impossible_progress_is_an_error_and_not_an_endless_loop()
-> Result<(), Box<dyn std::error::Error>> {
    let data = Dataset::open("digits", &OpenOptions { limit: Some(48), ..Default::default() })?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(16, Augment::None, normalisation.clone(), 0);
    let batches = Loader::new(data.train.clone(), config)?;
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(64, normalisation))?;
    let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
    let recipe = Recipe { epochs: 2, ..Recipe::default() };
    let mut run = Run::new(&*model, None, &batches, &test, recipe, &Device::Cpu);
    let finished = match train(&mut run, Progress::default(), &mut Callbacks::default(), None)? {
        Outcome::Finished(progress) => progress,
        Outcome::Stopped(_) => return Err("the run stopped early".into()),
    };
    assert_eq!((finished.step, finished.history.len()), (6, 2));
    let one_epoch =
        Progress { history: finished.history[..1].to_vec(), step: 3, ..Progress::default() };
    for (step, history) in [(4, 0), (7, 1), (2, 1), (u64::MAX, 1), (9, 2)] {
        let progress =
            Progress { step, history: finished.history[..history].to_vec(), ..Progress::default() };
        let error = train(&mut run, progress, &mut Callbacks::default(), None);
        assert!(
            matches!(error, Err(TrainError::Progress { .. })),
            "{step} steps, {history} epochs: {error:?}"
        );
    }
    let resumed = train(&mut run, one_epoch, &mut Callbacks::default(), None)?;
    assert!(matches!(resumed, Outcome::Finished(progress) if progress.step == 6));
    Ok(())
}
