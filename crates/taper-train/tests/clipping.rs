//! Kept weights are clipped as in exact training, however the gradients of pruned weights are computed.

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

/// The results of some steps on one batch of eight blocks, at 90 % sparsity from the first step on. Gradients are
/// clipped to a norm far below their own.
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
            // With a global threshold, the last layer would lose every weight, and no layer would get a gradient.
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

    /// The change of each weight: kept weights, and pruned weights.
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

/// The factor that best maps `other` to `these`, by least squares.
fn factor(these: &[f64], other: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(these, other) / dot(other, other)
}

#[test]
fn multiplied_gradients_of_pruned_weights_do_not_change_the_clipping_of_kept_weights() -> Result {
    let exact = Steps::take(PrunedUpdate::EveryStep, 1, 0.1)?.moved();
    for n in [1, 2, 8] {
        let every = Steps::take(PrunedUpdate::EveryNth(n), 1, 0.1)?.moved();
        assert!((factor(&every.0, &exact.0) - 1.0).abs() < 1e-4, "{n}");
        assert!((factor(&every.1, &exact.1) - n as f64).abs() < 1e-3, "{n}");
    }
    Ok(())
}

#[test]
fn steps_without_gradients_of_pruned_weights_have_the_norm_of_exact_training() -> Result {
    // With a learning rate of 0, the gradient is the same in every step.
    let exact = Steps::take(PrunedUpdate::EveryStep, 1, 0.0)?.done[0].norm;
    for done in Steps::take(PrunedUpdate::EveryNth(3), 7, 0.0)?.done {
        assert!((done.norm.all / exact.all - 1.0).abs() < 1e-6, "{:?} {exact:?}", done.norm);
        assert_eq!(done.norm.dead_share() > 0.0, exact.dead_share() > 0.0);
    }
    Ok(())
}

#[test]
fn the_variance_of_sampled_gradients_does_not_shrink_updates_of_kept_weights() -> Result {
    let exact = Steps::take(PrunedUpdate::EveryStep, 1, 0.1)?.moved();
    let mut mean = 0.0;
    for seed in 0..8 {
        let sampled = Steps::take(PrunedUpdate::Sampled { share: 0.25, seed }, 1, 0.1)?.moved();
        mean += factor(&sampled.0, &exact.0) / 8.0;
    }
    // With the uncorrected norm of the estimate, the factor is less than a half.
    assert!((0.7..1.3).contains(&mean), "{mean}");
    Ok(())
}
