//! Runs an experiment to its result.

use crate::{
    baked::Baked,
    best,
    compute::Compute,
    counts::{layers, totals},
    error::usage,
    folder::{Request, RunFolder},
    ranks::expect_one_experiment,
    setup::Setup,
    source,
    spec::Resolved,
};
use anyhow::Context;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use taper::{
    core::Sparsity,
    data::{Dataset, FetchProgress, Loader},
    distributed::Ranks,
    prune::{self, least_age},
    record::{
        NAMES, RunFiles,
        fate::FateRow,
        result::{self, RunResult},
        rows,
        run::{self, Segment, hash},
        timing::EpochTime,
    },
    train::{
        Callbacks, Outcome, Progress, Run,
        callback::{EarlyStop, EpochCsv, Interrupt, MaskTrace, StepLines, TensorBoard, TimingCsv},
        checkpoint::Checkpoints,
        train,
    },
};

/// A run to start: its experiment, its folder, and whether to resume or replace an existing run.
///
/// ```no_run
/// use taper_experiment::{Callbacks, Ended, Experiment, Training};
///
/// let experiment = Experiment::default().set("prune.sparsity", 0.98);
/// let training = Training::new(experiment.resolve()?).out("runs/digits");
/// if let Ended::Finished { result, .. } = training.run(Callbacks::default())? {
///     println!("{:.1} %", 100.0 * result.test_accuracy);
/// }
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone)]
pub struct Training {
    /// The experiment.
    pub experiment: Resolved,
    /// The device and the choice of kernels.
    pub compute: Compute,
    /// The run folder; `None` for a folder below `runs` that is named after the experiment.
    pub out: Option<PathBuf>,
    /// Resume from the last checkpoint in the folder, if any.
    pub resume: bool,
    /// Replace the run in the folder.
    pub force: bool,
    /// Write TensorBoard event files, even without `train.tensorboard`.
    pub tensorboard: bool,
    /// Record what each mask update changed, from the first step on. A run that has this record continues it in any case.
    pub mask_trace: bool,
    /// Ends the run after the step in which it is raised.
    pub interrupt: Interrupt,
    /// Receives the progress of downloads.
    pub fetching: Option<Arc<dyn FetchProgress>>,
    /// The processes that train together; each of them calls [`run`](Self::run). The first rank downloads data and
    /// writes files.
    pub ranks: Ranks,
}

/// Sent by rank 0 instead of a step if the run is finished.
const FINISHED: f64 = -1.0;

/// How a run ended.
pub enum Ended {
    /// With a result.
    Finished {
        /// The run folder.
        folder: PathBuf,
        /// The result.
        result: Box<RunResult>,
        /// Whether this call produced it.
        is_new: bool,
    },
    /// By its interrupt, with a checkpoint.
    Interrupted {
        /// The run folder.
        folder: PathBuf,
        /// Steps done.
        step: u64,
    },
    /// On a rank that is not the first; the first has the result.
    Assisted,
}

impl Training {
    /// Training on the CPU that neither resumes nor replaces a run.
    pub fn new(experiment: Resolved) -> Self {
        Self {
            experiment,
            compute: Compute::default(),
            out: None,
            resume: false,
            force: false,
            tensorboard: false,
            mask_trace: false,
            interrupt: Interrupt::default(),
            fetching: None,
            ranks: Ranks::default(),
        }
    }

    /// The same training, in this folder.
    #[must_use]
    pub fn out(self, folder: impl Into<PathBuf>) -> Self {
        Self { out: Some(folder.into()), ..self }
    }

    /// Trains to the end, and starts from the last checkpoint if it resumes. `watch` receives events in addition to the
    /// callbacks that write the files of the run.
    ///
    /// # Errors
    /// If the data cannot be read or downloaded or does not fit the experiment, the folder contains another run,
    /// something cannot be read or written, or the loss is not finite.
    pub fn run(&self, watch: Callbacks) -> anyhow::Result<Ended> {
        let setup = self.setup()?;
        let Setup { resolved, data, record, .. } = &setup;
        // An invalid run is rejected before a folder is created or replaced.
        let mut run = setup.run()?;
        run.ranks = self.ranks.clone();
        self.ranks.expect_images(run.train.n_images_of(0)).map_err(usage)?;
        if !self.ranks.is_first() {
            return self.assist(&setup, run);
        }
        let request = Request {
            resume: self.resume,
            force: self.force,
            record,
            from: resolved.start().map(|start| start.path()),
        };
        let folder = RunFolder::open(&self.folder(data), &request)?;
        let begun = folder.files().run()?;
        if let Some(begun) = &begun {
            source::expect_same_files(&begun.data, data, folder.path())?;
        }
        if let Some(result) = folder.result()? {
            self.ranks.each(FINISHED)?;
            return Ok(Ended::Finished {
                folder: folder.path().into(),
                result: result.into(),
                is_new: false,
            });
        }
        let mut checkpoints = setup.checkpoints(folder.path())?;
        let progress = match checkpoints.latest()? {
            Some(checkpoint) => {
                folder.expect_recipe(&checkpoint.recipe, record)?;
                checkpoint.restore(&mut run)?
            }
            None => Progress::default(),
        };
        // A run continues its trace, whoever resumes it.
        let has_trace = folder.files().path(NAMES.masks).exists();
        let traces = has_trace || self.mask_trace && progress.step == 0;
        if self.mask_trace && !traces {
            tracing::warn!(
                "{} has {} steps without a mask trace, so no trace is written; train again with --force for a complete one",
                folder.path().display(),
                progress.step
            );
        }
        let mut segments = begun.map(|begun| begun.segments).unwrap_or_default();
        segments.push(self.compute.segment(progress.step, &setup.device, &self.ranks));
        folder.write(NAMES.run, &description(&setup, &run, segments))?;
        let total = run.recipe.total_steps(run.train);
        warn(&setup, total);
        let mut callbacks = self.records(folder.files(), traces, total).with(watch);
        self.ranks.each(progress.step as f64)?;
        let outcome = train(&mut run, progress, &mut callbacks, Some(&mut checkpoints))?;
        drop(callbacks);
        match outcome {
            Outcome::Stopped(progress) if self.is_interrupted()? => {
                Ok(Ended::Interrupted { folder: folder.path().into(), step: progress.step })
            }
            Outcome::Finished(progress) | Outcome::Stopped(progress) => {
                let result = finish(run, &setup, &folder, &checkpoints, &progress)?;
                let (n_kept, n) = (result.totals.n_kept, result.totals.n_prunable);
                if let Some(miss) = resolved.misses(n_kept, n) {
                    tracing::warn!("{miss}");
                }
                Ok(Ended::Finished {
                    folder: folder.path().into(),
                    result: result.into(),
                    is_new: true,
                })
            }
        }
    }

    /// Prepares the parts of the run. The first rank downloads the data before the others read them.
    fn setup(&self) -> anyhow::Result<Setup> {
        let setup = || Setup::of(&self.experiment, &self.compute, self.fetching.as_deref());
        let setup = match self.ranks.is_first() {
            true => {
                let setup = setup()?;
                self.ranks.each(0.0)?;
                setup
            }
            false => {
                self.ranks.each(0.0)?;
                setup()?
            }
        };
        expect_one_experiment(&self.ranks, &setup, &self.compute)?;
        Ok(setup)
    }

    /// Trains on a rank that is not the first, from the step of the first rank.
    fn assist(&self, setup: &Setup, mut run: Run) -> anyhow::Result<Ended> {
        let step = self.ranks.each(0.0)?[0];
        if step == FINISHED {
            return Ok(Ended::Assisted);
        }
        let folder = self.folder(&setup.data).join(NAMES.checkpoints);
        let progress = match step > 0.0 {
            true => Checkpoints::of_step(&folder, step as u64)?.restore(&mut run)?,
            false => Progress::default(),
        };
        let mut callbacks = Callbacks::default().with(self.interrupt.clone());
        if let Outcome::Stopped(_) = train(&mut run, progress, &mut callbacks, None)? {
            self.is_interrupted()?;
        }
        Ok(Ended::Assisted)
    }

    /// Whether a run that has stopped was interrupted, on any rank.
    fn is_interrupted(&self) -> anyhow::Result<bool> {
        Ok(self.ranks.any(self.interrupt.is_raised())?)
    }

    /// The run folder.
    fn folder(&self, data: &Dataset) -> PathBuf {
        let experiment = &self.experiment;
        self.out.clone().unwrap_or_else(|| {
            let sparsity = experiment.asked().map(|asked| format!("-{asked}")).unwrap_or_default();
            let (model, method) = (experiment.model(), experiment.method());
            let name =
                format!("{model}-{}-{method}{sparsity}-seed{}", data.name, experiment.seed());
            Path::new("runs").join(name)
        })
    }

    /// The callbacks that write the files of the run, and those that may end it.
    fn records(&self, files: &RunFiles, traces: bool, total: u64) -> Callbacks {
        let mut callbacks = Callbacks::default()
            .with(EpochCsv::new(&files.path(NAMES.epochs)))
            .with(StepLines::new(&files.path(NAMES.steps)))
            .with(TimingCsv::new(&files.path(NAMES.timing)))
            .with(self.interrupt.clone());
        if self.tensorboard || self.experiment.writes_tensorboard() {
            callbacks = callbacks.with(TensorBoard::new(files.folder()));
        }
        if traces {
            callbacks = callbacks.with(MaskTrace::new(&files.path(NAMES.masks)));
        }
        if let Some(patience) = self.experiment.early_stop() {
            let target = self.experiment.sparsity();
            let from = self.experiment.phases_end(total);
            callbacks = callbacks.with(EarlyStop { patience, target, from });
        }
        callbacks
    }
}

/// The content of `run.json`.
fn description(setup: &Setup, run: &Run, segments: Vec<Segment>) -> run::RunRecord {
    run::RunRecord {
        schema: run::SCHEMA,
        recipe: setup.record.clone(),
        recipe_hash: hash(&setup.record),
        seed: setup.resolved.seed(),
        steps: run.recipe.total_steps(run.train),
        steps_per_epoch: run.train.batches_per_epoch() as u64,
        data: source::describe(&setup.data),
        segments,
    }
}

/// Warns of settings that are legal, but probably not intended, for a run of `total` steps.
fn warn(setup: &Setup, total: u64) {
    if let (Some(choices), Some("test")) = (setup.resolved.choices(), setup.chosen_on()) {
        tracing::warn!(
            "epochs are chosen on test data ({choices}), which biases the test accuracy; hold out training images with train.validation"
        );
    }
    let Setup { resolved, data, .. } = setup;
    if let Some((key, name, n)) = resolved.images_of_each_class() {
        let n_images = setup.train.of_each_class(0, n, resolved.batch_size()).n_images();
        if n_images < n.saturating_mul(data.classes.len()) {
            tracing::warn!(
                "prune.{key} is {name}, but not every class has {n} training images, so only {n_images} images are used; use fewer of each class"
            );
        }
    }
    if resolved.never_swaps(total) {
        tracing::warn!(
            "prune.refresh_every is {}, but the run has {total} steps, so no weight is pruned and regrown before the last step or prune.swap_end; train \
             longer, or lower prune.refresh_every",
            resolved.refresh_every()
        );
    }
    let (n, size) = (setup.train.n_images(), resolved.batch_size());
    if n < size {
        tracing::warn!(
            "train.batch_size is {size}, but there are only {n} training images, so an epoch is one step; choose a smaller batch size"
        );
    }
}

/// Sets pruned weights to 0, and writes the pruned checkpoints and then the result.
fn finish(
    run: Run,
    setup: &Setup,
    folder: &RunFolder,
    checkpoints: &Checkpoints,
    progress: &Progress,
) -> anyhow::Result<RunResult> {
    let Setup { resolved, data, architecture, model, validation, .. } = setup;
    let last = progress
        .history
        .last()
        .with_context(|| {
        let folder = folder.path().display();
        format!("{folder}: the run was stopped in its first epoch and has no result; resume it, or stop it after an epoch")
    })?;
    let is_measured = last.step == progress.step && !last.choice_accuracy().is_nan();
    let (mut test, mut held_out) =
        ([last.test_accuracy, last.test_loss], [last.validation_accuracy, last.validation_loss]);
    // A callback can stop a run in the middle of an epoch, or after an epoch without an evaluation.
    if !is_measured && let Some(now) = run.validation_now()? {
        held_out = [now.accuracy, now.loss];
    }
    // Test images that no choice was made on are used once, here.
    if !is_measured || validation.is_some() {
        let now = run.test_now()?;
        test = [now.accuracy, now.loss];
    }
    let Baked { report, fates, analysis, checkpoint } = Baked::of(run, setup)?;
    if resolved.n_probes() > 0 && !resolved.is_dense() {
        folder.write_text(
            NAMES.fates,
            &rows::text(&fates.iter().map(record_of).collect::<Vec<_>>())?,
        )?;
    }
    let path = folder.files().path(NAMES.pruned);
    checkpoint.save(&path)?;
    let (seconds, images_per_second) = EpochTime::totals(&folder.files().timing()?);
    let (.., keep_best) = resolved.checkpointing();
    let mut result = RunResult {
        schema: result::SCHEMA,
        model: architecture.name.to_string(),
        data: data.name.clone(),
        method: resolved.method().into(),
        seed: resolved.seed(),
        epochs: progress.history.len() as u64,
        steps: progress.step,
        test_accuracy: test[0],
        test_loss: test[1],
        validation_accuracy: held_out[0],
        validation_loss: held_out[1],
        n_validation: validation.as_ref().map_or(0, Loader::n_images),
        chosen_on: setup.chosen_on().map(str::to_owned),
        train_loss: last.train_loss,
        sparsity_target: resolved.target().map(Sparsity::get),
        n_dropped: Some(report.n_dropped()),
        n_filters: Some(report.n_filters()),
        n_dead_filters: Some(report.n_dead_filters()),
        n_live: Some(last.n_live),
        dead_grad_share: Some(last.dead_grad_share),
        n_params: model.params().n_params(),
        bytes_dense: 4 * model.params().n_params(),
        bytes_file: std::fs::metadata(&path)?.len(),
        seconds,
        images_per_second: Some(images_per_second),
        totals: totals(&analysis),
        layers: layers(&analysis),
        best: None,
    };
    if keep_best {
        result.best = best::write(setup, checkpoints, progress, folder.path())?;
    }
    folder.write(NAMES.result, &result)?;
    Ok(result)
}

/// The record of weights that were followed.
fn record_of(fate: &prune::Fate) -> FateRow {
    FateRow {
        step: fate.step.0,
        decile: fate.decile as u64,
        age: least_age(fate.age),
        n_pruned: fate.n_pruned,
        n_back: fate.n_back,
        n_kept: fate.n_kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Experiment;
    use taper::train::{Callback, Cosine, Flow, LearningRate, StepEvent, TrainError};

    /// Stops the run after a step.
    struct StopAfter(u64);

    impl Callback for StopAfter {
        fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
            Ok(if event.step == self.0 { Flow::Stop } else { Flow::Continue })
        }
    }

    /// Interrupts the run after a step.
    struct InterruptAfter(u64, Interrupt);

    impl Callback for InterruptAfter {
        fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
            if event.step == self.0 {
                self.1.raise();
            }
            Ok(Flow::Continue)
        }
    }

    #[test]
    fn a_mask_trace_is_continued_by_whoever_resumes_the_run() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let experiment = Experiment::default().set("train.max_steps", 12).set("train.limit", 128);
        let resolved = experiment.resolve()?;
        let training = |name: &str, mask_trace, resume| Training {
            mask_trace,
            resume,
            ..Training::new(resolved.clone()).out(folder.path().join(name))
        };
        training("whole", true, false).run(Callbacks::default())?;
        let first = training("resumed", true, false);
        let stop = InterruptAfter(5, first.interrupt.clone());
        let ended = first.run(Callbacks::default().with(stop))?;
        assert!(matches!(ended, Ended::Interrupted { .. }));
        training("resumed", false, true).run(Callbacks::default())?;
        let trace = |name: &str| std::fs::read(folder.path().join(name).join(NAMES.masks));
        assert_eq!(trace("resumed")?, trace("whole")?);
        Ok(())
    }

    #[test]
    fn the_learning_rate_ends_with_the_steps_and_held_out_images_are_not_augmented()
    -> anyhow::Result<()> {
        let experiment = Experiment::default()
            .set("prune.sparsity", 0.9)
            .set("train.max_steps", 7)
            .set("train.warmup_epochs", 0.1)
            .set("train.batch_size", 64)
            .set("train.validation", 0.2);
        let setup = Setup::of(&experiment.resolve()?, &Compute::default(), None)?;
        let run = setup.run()?;
        // Of 1,154 training images, 19 batches; a tenth of them are two steps of warm-up.
        let cosine = Cosine { lr: 0.05, total_steps: 7 };
        for (step, warm) in [(0, 0.5), (1, 1.0), (2, 1.0), (4, 1.0), (6, 1.0)] {
            let (found, wanted) = (run.learning_rate.at(step), warm * cosine.at(step));
            assert!((found - wanted).abs() < 1e-12, "step {step}: {found}, not {wanted}");
        }
        let validation = setup.validation.as_ref().context("held-out images")?;
        let batches = |epoch| validation.epoch(epoch).collect::<Vec<_>>();
        assert_eq!(batches(0), batches(1));
        Ok(())
    }

    #[test]
    fn the_result_of_a_run_stopped_in_an_epoch_is_measured_on_its_last_weights()
    -> anyhow::Result<()> {
        for validation in [0.0, 0.2] {
            let folder = tempfile::tempdir()?;
            let experiment = Experiment::default()
                .set("prune.sparsity", 0.9)
                .set("train.epochs", 3)
                .set("train.limit", 320)
                .set("train.batch_size", 32)
                .set("train.validation", validation);
            let training = Training::new(experiment.resolve()?).out(folder.path().join("run"));
            // An epoch has ten steps, or eight with held-out images.
            let ended = training.run(Callbacks::default().with(StopAfter(14)))?;
            let Ended::Finished { folder, result, .. } = ended else {
                anyhow::bail!("the run has no result")
            };
            assert_eq!((result.steps, result.epochs), (15, 1));
            let setup = training.setup()?;
            let mut run = setup.run()?;
            let checkpoint = setup.checkpoints(&folder)?.latest()?.context("a checkpoint")?;
            let progress = checkpoint.restore(&mut run)?;
            let now = run.test_now()?;
            assert_eq!((result.test_loss, result.test_accuracy), (now.loss, now.accuracy));
            let last = progress.history.last().context("an epoch")?;
            match run.validation_now()? {
                Some(now) => {
                    assert_eq!(result.validation_loss, now.loss);
                    assert_ne!(result.validation_loss, last.validation_loss);
                }
                None => assert_ne!(result.test_loss, last.test_loss),
            }
        }
        Ok(())
    }
}
