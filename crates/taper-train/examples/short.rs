//! Trains a small custom network on the digits, dense and at 90 % sparsity.

use candle_core::{Device, Result, Tensor};
use taper_core::Sparsity;
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_nn::{Init, Linear, Model, Params, Pass, Scope, relu};
use taper_prune::Pruner;
use taper_train::{Callbacks, Outcome, Progress, Recipe, Run, train};

/// Two linear layers.
struct Mlp {
    hidden: Linear,
    out: Linear,
    params: Params,
}

impl Mlp {
    fn new() -> Result<Self> {
        let scope = Scope::new(0, &Device::Cpu);
        Ok(Self {
            hidden: Linear::new(&scope.pp("hidden"), 64, 128, Init::Uniform)?,
            out: Linear::new(&scope.pp("out"), 128, 10, Init::Uniform)?,
            params: scope.finish(),
        })
    }
}

impl Model for Mlp {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let x = relu(&self.hidden.forward(&images.flatten_from(1)?, pass)?)?;
        self.out.forward(&x, pass)?.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let data = Dataset::open("digits", &OpenOptions::default())?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(32, Augment::Shift, normalisation.clone(), 0);
    let batches = Loader::new(data.train.clone(), config)?;
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(128, normalisation))?;
    for sparsity in [None, Some(0.9)] {
        let model = Mlp::new()?;
        let recipe = Recipe { epochs: 6, lr: 0.05, ..Recipe::default() };
        let pruner = match sparsity {
            Some(s) => {
                let total = recipe.total_steps(&batches);
                Some(Pruner::feather(model.params().prunable(), Sparsity::new(s)?, total)?)
            }
            None => None,
        };
        let mut run = Run::new(&model, pruner, &batches, &test, recipe, &Device::Cpu);
        let outcome = train(&mut run, Progress::default(), &mut Callbacks::default(), None)?;
        let (Outcome::Finished(progress) | Outcome::Stopped(progress)) = outcome;
        if let Some(last) = progress.history.last() {
            println!("sparsity {:.3}: test accuracy {:.3}", last.sparsity, last.test_accuracy);
        }
    }
    Ok(())
}
