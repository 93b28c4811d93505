//! `taper train`.

mod baked;
mod best;
pub(super) mod folder;
mod resume;
mod segments;
mod setup;
mod watch;

pub(super) use setup::{Setup, resolve};

use super::inspect;
use crate::{args::Train, machine, source, spec::Resolved, term};
use anyhow::Context;
use baked::Baked;
use folder::{Request, RunFolder};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode, sync::OnceLock};
use taper::{
    data::{Dataset, Loader},
    prune::{Fate, least_age},
    train::{
        Callbacks, Outcome, Progress, Run,
        callback::{EarlyStop, EpochCsv, Interrupt, MaskTrace, StepLines, TensorBoard, TimingCsv},
        checkpoint::Checkpoints,
        train,
    },
};
use taper_report::{
    host::{Exit, on_stop},
    study,
};

/// Trains, from the experiment to the pruned checkpoint.
pub fn run(args: &Train) -> anyhow::Result<ExitCode> {
    if args.dry_run {
        let settings = resolve(args)?.settings()?;
        term::print(serde_json::to_string_pretty(&settings)?)?;
        return Ok(Exit::Done.into());
    }
    machine::prepare(&args.compute)?;
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
    Finished(Value),
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
    if let Some(begun) = folder.read("run.json")? {
        source::expect_same_files(&begun["data"], data, folder.path())?;
    }
    if let Some(result) = folder.result()? {
        say(args, &format!("{} is finished already", folder.path().display()));
        report(args, &folder, &result)?;
        return Ok(Ended::Finished(result));
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
    let segment = machine::segment(progress.step, &args.compute, &setup.device);
    let segments = segments::with(folder.read("run.json")?.as_ref(), segment)?;
    folder.write("run.json", &description(resolved, data, record, &run, segments))?;

    if let (Some(choices), Some("test")) = (resolved.choices(), setup.chosen_on()) {
        tracing::warn!(
            "the choices of {choices} are made on test data, which biases the test accuracy; hold out training images with train.validation"
        );
    }
    let interrupt = when_asked_to_stop()?;
    let mut watch = callbacks(args, resolved, &folder, interrupt.clone());
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
            report(args, &folder, &result)?;
            Ok(Ended::Finished(result))
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
    segments: Vec<Value>,
) -> Value {
    let mut description = json!({
        "schema": segments::SCHEMA,
        "recipe": record,
        "recipe_hash": folder::hash(record),
        "seed": resolved.seed(),
        "steps": run.recipe.total_steps(run.train),
        "steps_per_epoch": run.train.batches_per_epoch(),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "n_train": data.train.len(),
            "n_test": data.test.len(),
            "classes": data.classes.len(),
        },
        "segments": segments,
    });
    if let Some(of_data) = description["data"].as_object_mut() {
        of_data.extend(source::describe(data));
    }
    description
}

fn callbacks(
    args: &Train,
    resolved: &Resolved,
    folder: &RunFolder,
    interrupt: Interrupt,
) -> Callbacks {
    let path = |name: &str| folder.path().join(name);
    let mut callbacks = Callbacks::default()
        .with(EpochCsv::new(&path("metrics.csv")))
        .with(StepLines::new(&path("steps.jsonl")))
        .with(TimingCsv::new(&path("timing.csv")))
        .with(interrupt);
    if args.tensorboard {
        callbacks = callbacks.with(TensorBoard::new(folder.path()));
    }
    if args.mask_trace {
        callbacks = callbacks.with(MaskTrace::new(&path("masks.csv")));
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
) -> anyhow::Result<Value> {
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
        folder.write_text("significance.csv", &significance_csv(&fates))?;
    }
    let path = folder.path().join("pruned.safetensors");
    checkpoint.save(&path)?;
    let (seconds, images_per_second) = folder.timing()?;
    let mut result = json!({
        "schema": 1,
        "model": architecture.name,
        "data": data.name,
        "method": resolved.method(),
        "seed": resolved.seed(),
        "epochs": progress.history.len(),
        "steps": progress.step,
        "test_accuracy": test_accuracy,
        "test_loss": test_loss,
        "validation_accuracy": last.validation_accuracy,
        "validation_loss": last.validation_loss,
        "n_validation": validation.as_ref().map_or(0, Loader::n_images),
        "chosen_on": setup.chosen_on(),
        "train_loss": last.train_loss,
        "sparsity_target": if resolved.is_dense() { Value::Null } else { json!(resolved.sparsity().get()) },
        "n_dropped": report.n_dropped(),
        "n_filters": report.n_filters(),
        "n_dead_filters": report.n_dead_filters(),
        "n_live": last.n_live,
        "dead_grad_share": last.dead_grad_share,
        "n_params": model.params().n_params(),
        "bytes_dense": 4 * model.params().n_params(),
        "bytes_file": std::fs::metadata(&path)?.len(),
        "seconds": seconds,
        "images_per_second": images_per_second,
        "layers": inspect::layers(&analysis),
    });
    if let (Value::Object(result), Value::Object(totals)) =
        (&mut result, inspect::totals(&analysis))
    {
        result.extend(totals);
    }
    let (.., keep_best) = resolved.checkpointing();
    if keep_best && let Some(best) = best::write(setup, checkpoints, progress, folder.path())? {
        result["best"] = best;
    }
    folder.write("result.json", &result)?;
    Ok(result)
}

/// What became of the weights that were followed.
fn significance_csv(fates: &[Fate]) -> String {
    study::FateRow::csv(fates.iter().map(|fate| study::FateRow {
        step: fate.step.0,
        decile: fate.decile as u64,
        age: least_age(fate.age),
        n_pruned: fate.n_pruned,
        n_back: fate.n_back,
        n_kept: fate.n_kept,
    }))
}

fn say(args: &Train, text: &str) {
    if !args.quiet {
        term::line(text);
    }
}

fn report(args: &Train, folder: &RunFolder, result: &Value) -> anyhow::Result<()> {
    if args.json {
        term::print(format_args!("{}", serde_json::to_string_pretty(result)?))?;
    } else if !args.quiet {
        let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
        term::print(format_args!(
            "test accuracy {:.2} % at sparsity {:.2} % ({} of {} weights kept, {:.1} % of the multiplications)",
            100.0 * number("test_accuracy"),
            100.0 * number("sparsity"),
            result["n_kept"],
            result["n_prunable"],
            100.0 * number("macs_sparse") / number("macs_dense"),
        ))?;
        let pruned = folder.path().join("pruned.safetensors");
        term::print(format_args!(
            "wrote {0}; `taper inspect {0}` lists its layers",
            pruned.display()
        ))?;
        if let Some((file, epoch)) =
            result["best"]["file"].as_str().zip(result["best"]["epoch"].as_u64())
        {
            term::print(format_args!(
                "wrote {}, the network of epoch {}, which has the best {} accuracy at that sparsity; test accuracy {:.2} %",
                folder.path().join(file).display(),
                epoch + 1,
                result["chosen_on"].as_str().unwrap_or("test"),
                100.0 * result["best"]["test_accuracy"].as_f64().unwrap_or(f64::NAN),
            ))?;
        }
    }
    if result["effective_sparsity"] == 1.0 {
        tracing::warn!(
            "no path of non-zero weights leads from the input to the output, so the network computes a constant; train longer or lower the sparsity"
        );
    }
    Ok(())
}
