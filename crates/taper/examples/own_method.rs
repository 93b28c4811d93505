//! A pruning method of one's own: a criterion and a renewal that are written here, and parts of `taper` for all else.
//!
//! `cargo run --release -p taper --example own_method` trains it on the embedded digits, in seconds.
//!
//! A method is a choice for each part of pruning. Whatever a method does not choose is as in Feather:
//!
//! | part | question | here |
//! | --- | --- | --- |
//! | schedule | how sparse, when | `Ramp`, along a cubic curve over the first half |
//! | allocation | how many weights in each layer | `Erk` |
//! | structure | which weights are kept together | single weights, the default |
//! | criterion | what a weight is worth | [`Relative`], ours |
//! | renewal | when masks change | [`Rarer`], ours |
//! | threshold | what a kept weight becomes | `Hard`: it stays as it is |
//! | remainder | what becomes of pruned weights | alive, with half of their gradient |

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

/// First part of ours, the worth of a weight: its magnitude relative to the mean of those that feed the same output. No
/// output loses all its weights for being small as a whole.
#[derive(Debug)]
struct Relative;

impl Criterion for Relative {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        // Weights are in row-major order, and a layer's first dimension is that of its outputs.
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

/// Second part of ours, when masks are chosen: at the steps 0, 1, 4, 9, 16 and so on, often at first and rarely later. It
/// depends on the step alone, so a resumed run goes on with the same masks.
#[derive(Debug)]
struct Rarer;

impl Renewal for Rarer {
    fn chooses(&self, now: &Moment) -> bool {
        let root = now.step.0.isqrt();
        // The end of the schedule may lie between two of them.
        root * root == now.step.0 || now.is_arrival()
    }

    /// The criterion alone says what is kept, so masks can be found anew at any time.
    fn is_top_k(&self) -> bool {
        true
    }
}

/// The composition: our two parts and the library's.
fn pruner(model: &dyn Model, target: Sparsity, n_steps: u64) -> Result<Pruner, PruneError> {
    let schedule = Ramp::new(Curve::Cubic, Step::ZERO, Step(n_steps / 2), target);
    let half = Constant::new(0.5).expect("a share");
    Pruner::builder(model.params().prunable(), schedule, n_steps)
        .criterion(Relative)
        .renewal(Rarer)
        .allocation(Erk::default())
        .threshold(Threshold::Hard)
        .remainder(Remainder::alive(half))
        .build()
}

/// Trains the small network of the digits. Gives the counts of its layers, its zeros and its test accuracy.
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
    let pruner = run.pruner.take().expect("the one that we gave");
    let (_, report) = pruner.refresh_counted()?;
    // From here on the weights hold their zeros, and the network needs no pruner.
    let n_zeros = pruner.bake()?;
    Ok((report, n_zeros, accuracy))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (report, n_zeros, accuracy) = run(Sparsity::new(0.95)?)?;
    for layer in &report.layers {
        let (name, n) = (&layer.info.name, layer.info.n_weights());
        println!("{name:<16} keeps {:>5} of {n:>6} weights", layer.n_kept);
    }
    let n_kept = report.n_kept();
    println!("{n_kept} of {} weights are kept, {n_zeros} are 0", n_kept + n_zeros);
    println!("test accuracy {:.1} %", 100.0 * accuracy);
    Ok(())
}

#[test]
fn one_weight_of_twenty_reads_the_digits() {
    let target = Sparsity::new(0.95).expect("a sparsity");
    let (report, n_zeros, accuracy) = run(target).expect("training");
    // Exact counts: 5 % of 23,824 weights, rounded.
    assert_eq!((report.n_kept(), n_zeros), (1_191, 23_824 - 1_191));
    assert!(accuracy > 0.9, "{accuracy}");
}

#[test]
fn an_output_of_small_weights_keeps_its_best() {
    use taper::core::{LayerId, LayerInfo, LayerKind};
    let info = LayerInfo { name: "fc".into(), kind: LayerKind::Linear, shape: vec![2, 2] };
    let weights = [1.0, -3.0, 0.01, 0.07];
    let (id, gradient, step) = (LayerId(0), None, Step::ZERO);
    let view = View { id, info: &info, weights: &weights, gradient, step };
    // Relative to means of 2 and 0.04.
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    let scores = Relative.scores(&view);
    assert!(scores.iter().zip(&[0.5, 1.5, 0.25, 1.75]).all(close), "{scores:?}");
}
