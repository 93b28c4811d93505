//! A custom pruning method: this file defines a criterion and a mask-update rule; Taper provides the other parts.
//!
//! `cargo run --release -p taper --example own_method` trains it on the embedded digits, in seconds.
//!
//! A method is a choice for each part of pruning. Parts without a choice are as in Feather:
//!
//! | part | decides | here |
//! | --- | --- | --- |
//! | schedule | the sparsity at each step | `Ramp`: a cubic curve over the first half of training |
//! | allocation | the number of kept weights in each layer | `Erk` |
//! | structure | which weights are kept or pruned together | single weights, the default |
//! | criterion | the score of each weight | [`Relative`], defined here |
//! | renewal | when masks change | [`Rarer`], defined here |
//! | threshold | the value of a kept weight | `Hard`: unchanged |
//! | remainder | the gradient of pruned weights | scaled by 0.5 |

use candle_core::Device;
use std::borrow::Cow;
use taper::{
    data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions},
    prelude::*,
    prune::{
        PruneError, Remainder, Report,
        allocation::Erk,
        criterion::{Criterion, View},
        renewal::{Moment, Renewal},
    },
    train::{Callbacks, Progress, Recipe, Run, train},
};

/// Our criterion: the magnitude of a weight, relative to the mean magnitude of all weights of the same output. An
/// output with small weights therefore does not lose all of them.
#[derive(Debug)]
struct Relative;

impl Criterion for Relative {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        // Weights are in row-major order, and the first dimension of a layer is its outputs.
        let n_outputs = layer.info.shape.first().copied().unwrap_or(1).max(1);
        let n_inputs = (layer.weights.len() / n_outputs).max(1);
        let outputs = layer.weights.chunks(n_inputs);
        let scores = outputs.flat_map(|weights| {
            let mean = weights.iter().map(|w| w.abs()).sum::<f32>() / weights.len() as f32;
            weights.iter().map(move |w| w.abs() / mean.max(f32::MIN_POSITIVE))
        });
        scores.collect()
    }
}

/// Our mask-update rule: masks are chosen at the steps 0, 1, 4, 9, 16 and so on, first often, later rarely. The rule
/// depends only on the step, so a resumed run continues with the same masks.
#[derive(Debug)]
struct Rarer;

impl Renewal for Rarer {
    fn chooses(&self, now: &Moment) -> bool {
        let root = now.step.0.isqrt();
        // The schedule may reach its target between two of these steps.
        root * root == now.step.0 || now.is_arrival()
    }

    /// Only the criterion decides which weights are kept, so masks can be recomputed at any time.
    fn is_top_k(&self) -> bool {
        true
    }
}

/// The pruner: our two parts and the library's.
fn pruner(model: &dyn Model, target: Sparsity, n_steps: u64) -> Result<Pruner, PruneError> {
    let schedule = Ramp::new(Curve::Cubic, Step::ZERO, Step(n_steps / 2), target);
    let half = Constant::new(0.5).expect("a factor in [0, 1]");
    Pruner::builder(model.params().prunable(), schedule, n_steps)
        .criterion(Relative)
        .renewal(Rarer)
        .allocation(Erk::default())
        .threshold(Threshold::Hard)
        .remainder(Remainder::alive(half))
        .build()
}

/// Trains a small network on the digits. Returns the counts per layer, the number of zeros and the test accuracy.
fn run(target: Sparsity) -> Result<(Report, u64, f64), Box<dyn std::error::Error>> {
    let data = Dataset::open("digits", &OpenOptions::default())?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(32, Augment::Shift, normalisation.clone(), 0);
    let batches = Loader::new(data.train.clone(), config)?;
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(128, normalisation))?;

    let model = taper::zoo::build("digits-cnn", data.classes.len(), 0, &Device::Cpu)?;
    let recipe = Recipe { epochs: 12, lr: 0.05, ..Recipe::default() };
    let pruner = pruner(&*model, target, recipe.total_steps(&batches))?;
    let mut run = Run::new(&*model, Some(pruner), &batches, &test, recipe, &Device::Cpu);
    train(&mut run, Progress::default(), &mut Callbacks::default(), None)?;

    let accuracy = run.test_now()?.accuracy;
    let pruner = run.pruner.take().expect("the run has a pruner");
    let (_, report) = pruner.refresh_counted()?;
    // The pruned weights are now 0, and the network needs no pruner.
    let n_zeros = pruner.bake()?;
    Ok((report, n_zeros, accuracy))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (report, n_zeros, accuracy) = run(Sparsity::new(0.95)?)?;
    for layer in &report.layers {
        let (name, n) = (&layer.info.name, layer.info.n_weights());
        println!("{name:<16} {:>5} of {n:>6} weights kept", layer.n_kept);
    }
    let n_kept = report.n_kept();
    println!("in total, {n_kept} of {} weights kept; {n_zeros} are 0", n_kept + n_zeros);
    println!("test accuracy {:.1} %", 100.0 * accuracy);
    Ok(())
}

#[test]
fn five_percent_of_the_weights_classify_the_digits() {
    let target = Sparsity::new(0.95).expect("a sparsity");
    let (report, n_zeros, accuracy) = run(target).expect("training");
    // Exact counts: 5 % of 23,824 weights, rounded.
    assert_eq!((report.n_kept(), n_zeros), (1_191, 23_824 - 1_191));
    assert!(accuracy > 0.9, "{accuracy}");
}

#[test]
fn scores_are_relative_to_the_mean_of_an_output() {
    use taper::core::{LayerId, LayerInfo, LayerKind};
    let info = LayerInfo { name: "fc".into(), kind: LayerKind::Linear, shape: vec![2, 2] };
    let weights = [1.0, -3.0, 0.01, 0.07];
    let (id, gradient, step) = (LayerId(0), None, Step::ZERO);
    let view = View { id, info: &info, weights: &weights, gradient, step };
    // The mean magnitudes of the two outputs are 2 and 0.04.
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    let scores = Relative.scores(&view);
    assert!(scores.iter().zip(&[0.5, 1.5, 0.25, 1.75]).all(close), "{scores:?}");
}
