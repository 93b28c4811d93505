//! A short run on a part of the digits, dense and sparse.

use candle_core::Device;
use taper_core::Sparsity;
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_prune::Pruner;
use taper_train::{Callbacks, Outcome, Progress, Recipe, Run, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = Dataset::open("digits", &OpenOptions::default())?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(32, Augment::Shift, normalisation.clone(), 0);
    let batches = Loader::new(data.train.clone(), config)?;
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(128, normalisation))?;
    for sparsity in [None, Some(0.9)] {
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
        let recipe = Recipe { epochs: 6, lr: 0.05, ..Recipe::default() };
        let pruner = match sparsity {
            Some(s) => {
                let total = recipe.total_steps(&batches);
                Some(Pruner::feather(model.params().prunable(), Sparsity::new(s)?, total)?)
            }
            None => None,
        };
        let mut run = Run::new(&*model, pruner, &batches, &test, recipe, &Device::Cpu);
        let outcome = train(&mut run, Progress::default(), &mut Callbacks::default(), None)?;
        let (Outcome::Finished(progress) | Outcome::Stopped(progress)) = outcome;
        if let Some(last) = progress.history.last() {
            println!("sparsity {:.3}: test accuracy {:.3}", last.sparsity, last.test_accuracy);
        }
    }
    Ok(())
}
