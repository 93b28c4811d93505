//! Kept weights are clipped as exact training clips them, whatever is computed for pruned ones.

use candle_core::Device;
use taper_core::{Sparsity, Step};
use taper_data::{Augment, Batch, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::Model;
use taper_prune::{PrunedUpdate, Pruner, allocation::Uniform};
use taper_scale::Constant;
use taper_schedule::{Curve, Ramp};
use taper_train::{Recipe, Run, StepDone};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Takes steps on one batch of eight blocks, at 90 % from the first step on, clipped far below any gradient; gives what
/// the steps came to, the weights before and after, and which are kept.
struct Steps {
    done: Vec<StepDone>,
    before: Vec<Vec<f32>>,
    after: Vec<Vec<f32>>,
    kept: Vec<Mask>,
}

impl Steps {
    fn take(update: PrunedUpdate, n: u64, lr: f64) -> Result<Self> {
        let data =
            Dataset::open("digits", &OpenOptions { limit: Some(128), ..Default::default() })?;
        let normalisation = data.normalisation.clone();
        let config = LoaderConfig::train(128, Augment::None, normalisation.clone(), 0);
        let batches = Loader::new(data.train.clone(), config)?;
        let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(64, normalisation))?;
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
        let recipe =
            Recipe { clip_norm: Some(0.01), momentum: 0.0, weight_decay: 0.0, ..Recipe::default() };
        let at_once = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::new(0.9)?);
        let pruner = Pruner::builder(model.params().prunable(), at_once, 100)
            .threshold(Threshold::Hard)
            .gradient(Constant::new(1.0)?)
            // Ranked all together, the last layer loses every weight, and nothing behind it has a gradient.
            .allocation(Uniform)
            .pruned_update(update)
            .build()?;
        let mut run = Run::new(&*model, Some(pruner), &batches, &test, recipe, &Device::Cpu);
        let batch: Batch = batches.epoch(0).next().ok_or("a batch")?;
        let before = weights(&*model)?;
        let done: std::result::Result<_, _> =
            (0..n).map(|step| run.step(Step(step), batch.clone(), lr)).collect();
        let masks = run.pruner.as_ref().ok_or("a pruner")?.state().masks;
        let kept = masks.into_iter().zip(&before);
        let kept = kept.map(|(words, w)| Mask::from_words(words, w.len()).expect("fits")).collect();
        Ok(Self { done: done?, before, after: weights(&*model)?, kept })
    }

    /// How far each weight has moved, kept ones first.
    fn moved(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut kept, mut pruned) = (Vec::new(), Vec::new());
        for ((before, after), mask) in self.before.iter().zip(&self.after).zip(&self.kept) {
            for (i, (&before, &after)) in before.iter().zip(after).enumerate() {
                let moved = f64::from(after) - f64::from(before);
                if mask.is_kept(i) { kept.push(moved) } else { pruned.push(moved) }
            }
        }
        (kept, pruned)
    }
}

fn weights(model: &dyn Model) -> Result<Vec<Vec<f32>>> {
    model.params().prunable().map(|(_, var)| Ok(var.flatten_all()?.to_vec1()?)).collect()
}

/// The factor that brings `other` to `these`, by least squares.
fn factor(these: &[f64], other: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(these, other) / dot(other, other)
}

#[test]
fn a_gradient_that_counts_several_times_leaves_kept_weights_what_they_have_in_exact_training()
-> Result {
    let exact = Steps::take(PrunedUpdate::EveryStep, 1, 0.1)?.moved();
    for n in [1, 2, 8] {
        let every = Steps::take(PrunedUpdate::EveryNth(n), 1, 0.1)?.moved();
        assert!((factor(&every.0, &exact.0) - 1.0).abs() < 1e-4, "{n}");
        assert!((factor(&every.1, &exact.1) - n as f64).abs() < 1e-3, "{n}");
    }
    Ok(())
}

#[test]
fn the_norm_is_that_of_exact_training_in_steps_without_gradients_of_pruned_weights_too() -> Result {
    // Weights that do not move have one gradient.
    let exact = Steps::take(PrunedUpdate::EveryStep, 1, 0.0)?.done[0].norm;
    for done in Steps::take(PrunedUpdate::EveryNth(3), 7, 0.0)?.done {
        assert!((done.norm.all / exact.all - 1.0).abs() < 1e-6, "{:?} {exact:?}", done.norm);
        assert_eq!(done.norm.dead_share() > 0.0, exact.dead_share() > 0.0);
    }
    Ok(())
}

#[test]
fn an_estimate_does_not_starve_kept_weights_by_its_variance() -> Result {
    let exact = Steps::take(PrunedUpdate::EveryStep, 1, 0.1)?.moved();
    let mut mean = 0.0;
    for seed in 0..8 {
        let sampled = Steps::take(PrunedUpdate::Sampled { share: 0.25, seed }, 1, 0.1)?.moved();
        mean += factor(&sampled.0, &exact.0) / 8.0;
    }
    // By the norm of the estimate as it is, they have less than a half.
    assert!((0.7..1.3).contains(&mean), "{mean}");
    Ok(())
}
