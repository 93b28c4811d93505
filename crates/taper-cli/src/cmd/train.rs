//! `taper train`.

mod baked;
mod best;
pub(super) mod folder;
mod resume;
mod setup;
mod watch;

pub(super) use setup::{Setup, resolve};

use super::inspect;
use crate::{args::Train, machine, source, spec::Resolved, term};
use anyhow::Context;
use baked::Baked;
use folder::{Request, RunFolder};
use serde_json::Value;
use std::{path::PathBuf, process::ExitCode, sync::OnceLock};
use taper::{
    core::Sparsity,
    data::{Dataset, Loader},
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
use taper_report::host::{Exit, on_stop};

/// Trains, from the experiment to the pruned checkpoint.
pub fn run(args: &Train) -> anyhow::Result<ExitCode> {
    machine::prepare(&args.compute)?;
    if args.dry_run {
        let resolved = setup::checked(args)?;
        term::print(serde_json::to_string_pretty(&resolved.settings()?)?)?;
        return Ok(Exit::Done.into());
    }
    Ok(match train_to_end(args)? {
        Ended::Finished(_) => Exit::Done.into(),
        Ended::Interrupted { step, resume } => {
            term::line(&format!("stopped after step {step}; to go on:\n  {resume}"));
            Exit::Interrupted.into()
        }
    })
}

/// How a run ended.
pub(super) enum Ended {
    /// With this result.
    Finished(Box<RunResult>),
    /// By Ctrl-C or SIGTERM, with a checkpoint.
    Interrupted {
        /// Steps done.
        step: u64,
        /// The command that goes on.
        resume: String,
    },
}

/// Trains from where the run is to its end; the machine has been prepared.
pub(super) fn train_to_end(args: &Train) -> anyhow::Result<Ended> {
    let setup = Setup::of(args)?;
    let Setup { resolved, data, record, .. } = &setup;
    // What cannot be run is refused before a folder is made or replaced.
    let mut run = setup.run()?;
    let request = Request {
        resume: args.resume,
        force: args.force,
        record,
        from: resolved.start().map(|start| start.path()),
    };
    let folder = RunFolder::open(&out_folder(args, resolved, data), &request)?;
    let begun = folder.files().run()?;
    if let Some(begun) = &begun {
        source::expect_same_files(&begun.data, data, folder.path())?;
    }
    if let Some(result) = folder.result()? {
        say(args, &format!("{} is finished already", folder.path().display()));
        report(args, resolved, &folder, &result)?;
        return Ok(Ended::Finished(result.into()));
    }
    let mut checkpoints = setup.checkpoints(folder.path())?;
    let progress = match checkpoints.latest()? {
        Some(checkpoint) => {
            folder.expect_recipe(&checkpoint.recipe, record)?;
            let progress = checkpoint.restore(&mut run)?;
            say(args, &format!("resumed after step {}", progress.step));
            progress
        }
        None => Progress::default(),
    };
    let mut segments = begun.map(|begun| begun.segments).unwrap_or_default();
    segments.push(machine::segment(progress.step, &args.compute, &setup.device));
    folder.write(NAMES.run, &description(resolved, data, record, &run, segments))?;

    if let (Some(choices), Some("test")) = (resolved.choices(), setup.chosen_on()) {
        tracing::warn!(
            "the choices of {choices} are made on test data, which biases the test accuracy; hold out training images with train.validation"
        );
    }
    let total = run.recipe.total_steps(run.train);
    if let Some((key, name, n)) = resolved.images_of_each_class() {
        let n_images = setup.train.of_each_class(0, n, resolved.batch_size()).n_images();
        if n_images < n.saturating_mul(data.classes.len()) {
            tracing::warn!(
                "prune.{key} is {name}, and not every class has {n} training images, so {n_images} images are used; take fewer of each class"
            );
        }
    }
    // Nothing is swapped in the last step.
    if let Some(every) = resolved.swap_every().filter(|&every| every + 1 >= total) {
        tracing::warn!(
            "prune.refresh_every is {every} and the run has {total} steps, so no weight is swapped; train longer, or swap more often"
        );
    }
    let interrupt = when_asked_to_stop()?;
    let mut watch = callbacks(args, resolved, folder.files(), interrupt.clone());
    let outcome = train(&mut run, progress, &mut watch, Some(&mut checkpoints))?;
    drop(watch);
    match outcome {
        Outcome::Stopped(progress) if interrupt.is_raised() => {
            let words: Vec<String> =
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            let resume = resume::command(&words, args, folder.path());
            Ok(Ended::Interrupted { step: progress.step, resume })
        }
        Outcome::Finished(progress) | Outcome::Stopped(progress) => {
            let result = finish(run, &setup, &folder, &checkpoints, &progress)?;
            report(args, resolved, &folder, &result)?;
            Ok(Ended::Finished(result.into()))
        }
    }
}

/// What Ctrl-C and SIGTERM raise; one for all runs of this process.
pub(super) fn when_asked_to_stop() -> anyhow::Result<Interrupt> {
    static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();
    if let Some(interrupt) = INTERRUPT.get() {
        return Ok(interrupt.clone());
    }
    let handler = INTERRUPT.get_or_init(Interrupt::default).clone();
    let interrupt = handler.clone();
    on_stop(move || {
        if handler.is_raised() {
            // Asked twice: the last checkpoint stands.
            std::process::exit(Exit::Interrupted.code().into());
        }
        handler.raise();
        term::line("ending after this step; once more ends at once");
    })?;
    Ok(interrupt)
}

fn out_folder(args: &Train, resolved: &Resolved, data: &Dataset) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let sparsity = resolved.asked().map(|asked| format!("-{asked}")).unwrap_or_default();
        let name = format!(
            "{}-{}-{}{sparsity}-seed{}",
            resolved.model(),
            data.name,
            resolved.method(),
            resolved.seed()
        );
        PathBuf::from("runs").join(name)
    })
}

/// What `run.json` holds.
fn description(
    resolved: &Resolved,
    data: &Dataset,
    record: &Value,
    run: &Run,
    segments: Vec<Segment>,
) -> run::RunRecord {
    run::RunRecord {
        schema: run::SCHEMA,
        recipe: record.clone(),
        recipe_hash: hash(record),
        seed: resolved.seed(),
        steps: run.recipe.total_steps(run.train),
        steps_per_epoch: run.train.batches_per_epoch() as u64,
        data: source::describe(data),
        segments,
    }
}

fn callbacks(
    args: &Train,
    resolved: &Resolved,
    files: &RunFiles,
    interrupt: Interrupt,
) -> Callbacks {
    let mut callbacks = Callbacks::default()
        .with(EpochCsv::new(&files.path(NAMES.epochs)))
        .with(StepLines::new(&files.path(NAMES.steps)))
        .with(TimingCsv::new(&files.path(NAMES.timing)))
        .with(interrupt);
    if args.tensorboard {
        callbacks = callbacks.with(TensorBoard::new(files.folder()));
    }
    if args.mask_trace {
        callbacks = callbacks.with(MaskTrace::new(&files.path(NAMES.masks)));
    }
    if let Some(patience) = resolved.early_stop() {
        callbacks = callbacks.with(EarlyStop { patience, target: resolved.sparsity() });
    }
    if !args.quiet {
        callbacks = callbacks.with(watch::ProgressLine::default());
    }
    callbacks
}

/// Bakes the zeros, and writes the pruned checkpoints and then the result.
fn finish(
    run: Run,
    setup: &Setup,
    folder: &RunFolder,
    checkpoints: &Checkpoints,
    progress: &Progress,
) -> anyhow::Result<RunResult> {
    let Setup { resolved, data, architecture, model, validation, .. } = setup;
    let last = progress.history.last().context("a run of no epochs has no result")?;
    // Test images that no choice was made on are seen once, here.
    let (test_accuracy, test_loss) = match validation {
        None => (last.test_accuracy, last.test_loss),
        Some(_) => {
            let test = run.test_now()?;
            (test.accuracy, test.loss)
        }
    };
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
        test_accuracy,
        test_loss,
        validation_accuracy: last.validation_accuracy,
        validation_loss: last.validation_loss,
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
        totals: inspect::totals(&analysis),
        layers: inspect::layers(&analysis),
        best: None,
    };
    if keep_best {
        result.best = best::write(setup, checkpoints, progress, folder.path())?;
    }
    folder.write(NAMES.result, &result)?;
    Ok(result)
}

/// What is recorded of weights that were followed.
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

fn say(args: &Train, text: &str) {
    if !args.quiet {
        term::line(text);
    }
}

fn report(
    args: &Train,
    resolved: &Resolved,
    folder: &RunFolder,
    result: &RunResult,
) -> anyhow::Result<()> {
    let totals = &result.totals;
    if args.json {
        term::print(format_args!("{}", serde_json::to_string_pretty(result)?))?;
    } else if !args.quiet {
        term::print(format_args!(
            "test accuracy {:.2} % at sparsity {:.2} % ({} of {} weights kept, {:.1} % of the multiplications)",
            100.0 * result.test_accuracy,
            100.0 * totals.sparsity,
            totals.n_kept,
            totals.n_prunable,
            100.0 * totals.macs_sparse as f64 / totals.macs_dense as f64,
        ))?;
        let pruned = folder.files().path(NAMES.pruned);
        term::print(format_args!(
            "wrote {0}; `taper inspect {0}` lists its layers",
            pruned.display()
        ))?;
        if let Some(best) = &result.best {
            term::print(format_args!(
                "wrote {}, the network of epoch {}, which has the best {} accuracy at that sparsity; test accuracy {:.2} %",
                folder.files().path(&best.file).display(),
                best.epoch + 1,
                result.chosen_on.as_deref().unwrap_or("test"),
                100.0 * best.test_accuracy,
            ))?;
        }
    }
    if let Some(miss) = resolved.misses(totals.n_kept, totals.n_prunable) {
        tracing::warn!("{miss}");
    }
    if totals.effective_sparsity == Some(1.0) {
        tracing::warn!(
            "no path of non-zero weights leads from the input to the output, so the network computes a constant; train longer or lower the sparsity"
        );
    }
    Ok(())
}
