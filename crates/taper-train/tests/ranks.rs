//! Runs on several ranks are bit-identical to a run on one rank.
//!
//! The ranks are threads of this process; MPI sends the same numbers.

use candle_core::Device;
use std::{path::PathBuf, sync::Arc, thread};
use taper_core::{Sparsity, Step, rng::Rng};
use taper_data::{Augment, ImageShape, Loader, LoaderConfig, Normalisation, Split};
use taper_distributed::{DistributedError, Ranks, Threads};
use taper_prune::{DropPolicy, DropRule, PrunedUpdate, Pruner, PrunerBuilder};
use taper_schedule::{Adaptation, Adaptive, Ramp};
use taper_train::{
    Callback, Callbacks, Flow, Outcome, Progress, Recipe, Run, StepEvent, TrainError,
    checkpoint::{Checkpoints, Snapshot, TrainingCheckpoint},
    train,
};

/// How a network is pruned.
#[derive(Clone, Copy, Debug)]
enum Method {
    Dense,
    Feather,
    Sampled,
    Live,
    EveryThird,
    AdaptiveDropping,
}

impl Method {
    fn pruner(self, run: &Run, total: u64) -> Option<Pruner> {
        let ramp = Ramp::feather(Sparsity::new(0.9).expect("a sparsity"), total);
        let params = run.model.params();
        let of = |ramp| Pruner::builder(params.prunable(), ramp, total);
        let built: PrunerBuilder = match self {
            Self::Dense => return None,
            Self::Feather => of(ramp),
            Self::Sampled => of(ramp).pruned_update(PrunedUpdate::Sampled { share: 0.4, seed: 3 }),
            Self::Live => of(ramp).pruned_update(PrunedUpdate::Live { margin: 0.5 }),
            Self::EveryThird => of(ramp).pruned_update(PrunedUpdate::EveryNth(3)),
            Self::AdaptiveDropping => {
                let adaptive = Adaptive::new(ramp, Adaptation::by(Step(total - 1)));
                Pruner::builder(params.prunable(), adaptive.expect("a schedule"), total)
                    .drop(DropPolicy::constant(DropRule::Longest, 0.3))
            }
        };
        Some(built.build().expect("a pruner"))
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    model: &'static str,
    shape: ImageShape,
    method: Method,
    batch_size: usize,
}

/// Random images, for which a sum in another order has other bits.
fn images(n: usize, case: Case, key: u64) -> Split {
    let mut rng = Rng::for_key([key]);
    let pixels = (0..n * case.shape.len()).map(|_| (rng.uniform() * 256.0) as u8).collect();
    let labels = (0..n).map(|i| (i * 7 % 10) as u32).collect();
    Split::new(case.shape, pixels, labels, None).expect("images")
}

/// Stops a run after a step.
struct StopAt(u64);

impl Callback for StopAt {
    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        Ok(if event.step + 1 == self.0 { Flow::Stop } else { Flow::Continue })
    }
}

/// Trains on this rank. Returns a checksum of the final state, and the bits of the losses.
fn trained(
    case: Case,
    ranks: Ranks,
    stop: Option<u64>,
    folder: Option<PathBuf>,
) -> Result<(u64, Vec<u64>), TrainError> {
    let channels = case.shape.channels;
    let normalisation = Normalisation::new(vec![0.5; channels], vec![0.3; channels], 255.0);
    let normalisation = normalisation.expect("a normalisation");
    let config = LoaderConfig::train(case.batch_size, Augment::None, normalisation.clone(), 5);
    // The last batch of an epoch has slightly more than one group of images, or fewer than eight images.
    let n = 2 * case.batch_size + if case.batch_size > 100 { 22 } else { 5 };
    let batches = Loader::new(images(n, case, 1), config).expect("a loader");
    let test = LoaderConfig::evaluation(24, normalisation);
    let test = Loader::new(images(100, case, 2), test).expect("a loader");
    let model = taper_zoo::build(case.model, 10, 0, &Device::Cpu).expect("a network");
    let recipe = Recipe { epochs: 2, label_smoothing: 0.1, ..Recipe::default() };
    let total = recipe.total_steps(&batches);
    assert_eq!(total, 6);
    let mut run = Run::new(&*model, None, &batches, &test, recipe, &Device::Cpu);
    run.pruner = case.method.pruner(&run, total);
    let is_first = ranks.is_first();
    run.ranks = ranks;
    let mut progress = Progress::default();
    let mut checkpoints = None;
    if let Some(folder) = folder {
        let last = Checkpoints::files(&folder).expect("files").into_iter().max();
        if let Some(last) = last {
            let saved = TrainingCheckpoint::load(&last).expect("a checkpoint");
            progress = saved.restore(&mut run).expect("a run of that recipe");
        }
        if is_first {
            checkpoints =
                Some(Checkpoints::new(&folder, serde_json::Value::Null).expect("a place"));
        }
    }
    let mut watch = Callbacks::default();
    // Only one rank requests the stop.
    if let Some(stop) = stop.filter(|_| run.ranks.rank() + 1 == run.ranks.size()) {
        watch = watch.with(StopAt(stop));
    }
    let outcome = train(&mut run, progress, &mut watch, checkpoints.as_mut())?;
    let (Outcome::Finished(progress) | Outcome::Stopped(progress)) = outcome;
    assert_eq!(progress.step, stop.unwrap_or(total));
    let losses = progress
        .history
        .iter()
        .flat_map(|m| [m.train_loss, m.train_accuracy, m.test_loss, m.test_accuracy, m.grad_norm]);
    Ok((Snapshot::of(&run, &progress).digest()?, losses.map(f64::to_bits).collect()))
}

/// The results of `run` on each rank.
fn on_ranks<R: Send + 'static>(
    size: usize,
    run: impl Fn(Ranks) -> R + Send + Sync + 'static,
) -> Vec<R> {
    let run = Arc::new(run);
    let ranks = Threads::connected(size).into_iter().map(|rank| {
        let run = run.clone();
        thread::spawn(move || run(Ranks::new(rank)))
    });
    let ranks: Vec<_> = ranks.collect();
    ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
}

const DIGITS: ImageShape = ImageShape { channels: 1, height: 8, width: 8 };
const PHOTOS: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

#[test]
fn any_number_of_ranks_is_bit_identical_to_one() {
    let cases = [
        ("digits-cnn", DIGITS, Method::Dense, 64),
        ("digits-cnn", DIGITS, Method::Feather, 115),
        ("digits-cnn", DIGITS, Method::Sampled, 112),
        ("digits-cnn", DIGITS, Method::Live, 77),
        ("digits-cnn", DIGITS, Method::EveryThird, 64),
        ("digits-cnn", DIGITS, Method::AdaptiveDropping, 113),
        ("resnet20@0.125", PHOTOS, Method::Sampled, 81),
        ("mobilenet-v1@0.125", PHOTOS, Method::Live, 64),
        ("densenet40-24@0.25", PHOTOS, Method::Feather, 50),
    ];
    for (model, shape, method, batch_size) in cases {
        let case = Case { model, shape, method, batch_size };
        let want = trained(case, Ranks::default(), None, None).expect("a run");
        let sizes: &[usize] = if shape == DIGITS { &[1, 2, 3, 4] } else { &[2, 3] };
        for &size in sizes {
            for found in on_ranks(size, move |ranks| trained(case, ranks, None, None)) {
                assert_eq!(found.expect("a run"), want, "{case:?} on {size} ranks");
            }
        }
    }
}

#[test]
fn a_run_resumes_with_another_number_of_ranks() {
    let (shape, method) = (DIGITS, Method::AdaptiveDropping);
    let case = Case { model: "digits-cnn", shape, method, batch_size: 64 };
    let want = trained(case, Ranks::default(), None, None).expect("a run");
    let folder = tempfile::tempdir().expect("a folder");
    for (size, stop) in [(3, Some(1)), (1, Some(2)), (4, Some(5)), (2, None)] {
        let path = folder.path().to_owned();
        let found = on_ranks(size, move |ranks| trained(case, ranks, stop, Some(path.clone())));
        let [first, rest @ ..] = &found[..] else { panic!("no rank") };
        let first = first.as_ref().expect("a run");
        assert!(rest.iter().all(|other| other.as_ref().ok() == Some(first)), "step {stop:?}");
        if stop.is_none() {
            assert_eq!(*first, want);
        }
    }
}

#[test]
fn every_rank_reports_too_many_ranks_and_different_runs() {
    let case = Case { model: "digits-cnn", shape: DIGITS, method: Method::Dense, batch_size: 64 };
    for error in on_ranks(5, move |ranks| trained(case, ranks, None, None)) {
        let error = error.expect_err("four groups").to_string();
        assert!(error.contains("5 ranks are too many for a batch of 64 images"), "{error}");
    }
    let other = move |ranks: Ranks| {
        let batch_size = if ranks.rank() == 1 { 80 } else { 64 };
        let method = if ranks.rank() == 2 { Method::Feather } else { Method::Dense };
        trained(Case { batch_size, method, ..case }, ranks, None, None)
    };
    for error in on_ranks(3, other) {
        let error = error.expect_err("rank 2 prunes");
        let TrainError::Distributed(DistributedError::Differs { rank: 2, .. }) = error else {
            panic!("{error}")
        };
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let case =
        Case { model: "digits-cnn", shape: DIGITS, method: Method::Sampled, batch_size: 115 };
    let of_threads = |n: usize| {
        on_ranks(2, move |ranks| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
            pool.install(|| trained(case, ranks, None, None)).expect("a run")
        })
    };
    let want = trained(case, Ranks::default(), None, None).expect("a run");
    for n in [1, 2] {
        assert!(of_threads(n).into_iter().all(|found| found == want), "{n} threads a rank");
    }
}
