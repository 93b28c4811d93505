//! The command `taper train`.

mod resume;
mod watch;

use crate::{args::Train, error::usage, machine, ranks, term};
use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};
use taper::{
    distributed::Ranks,
    record::{NAMES, RunFiles, result::RunResult},
    train::{Callbacks, callback::Interrupt},
};
use taper_experiment::{Compute, Ended, Experiment, Setup, Training, keys_of};
use taper_host::{Exit, on_stop};

/// Trains a network as an experiment describes.
pub fn run(args: &Train) -> anyhow::Result<ExitCode> {
    let compute = machine::prepare(&args.compute)?;
    if args.dry_run {
        let experiment = experiment(args)?.resolve()?;
        Setup::check(&experiment, &compute)?;
        term::print(serde_json::to_string_pretty(&experiment.settings()?)?)?;
        return Ok(Exit::Done.into());
    }
    let ranks = ranks::join()?;
    let ended = train_to_end(args, &compute, &ranks);
    Ok(match ranks::leave(&ranks, ended)? {
        Ended::Finished { .. } | Ended::Assisted => Exit::Done.into(),
        Ended::Interrupted { folder, step } => {
            let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
            let resume = resume::command(&words.collect::<Vec<_>>(), args, &folder);
            term::line(&format!("stopped after step {step}; to resume:\n  {resume}"));
            Exit::Interrupted.into()
        }
    })
}

/// Starts or resumes a run, and trains it to its end.
pub(super) fn train_to_end(
    args: &Train,
    compute: &Compute,
    ranks: &Ranks,
) -> anyhow::Result<Ended> {
    let training = Training { ranks: ranks.clone(), ..training(args, compute)? };
    let watch = match args.quiet || !ranks.is_first() {
        true => Callbacks::default(),
        false => Callbacks::default().with(watch::ProgressLine::default()),
    };
    let ended = training.run(watch)?;
    if let Ended::Finished { folder, result, is_new } = &ended {
        if !is_new && !args.quiet {
            term::line(&format!("{} is finished already", folder.display()));
        }
        report(args, &RunFiles::new(folder), result)?;
    }
    Ok(ended)
}

/// The training of a command line.
fn training(args: &Train, compute: &Compute) -> anyhow::Result<Training> {
    Ok(Training {
        compute: compute.clone(),
        out: args.out.clone(),
        resume: args.resume,
        force: args.force,
        tensorboard: args.tensorboard,
        mask_trace: args.mask_trace,
        interrupt: when_asked_to_stop()?,
        fetching: Some(Arc::new(term::FetchBar::default())),
        ..Training::new(experiment(args)?.resolve()?)
    })
}

/// The experiment of a command line.
pub(super) fn experiment(args: &Train) -> anyhow::Result<Experiment> {
    let mut experiment =
        Experiment::given(args.experiment.as_deref(), &args.set_shared, &args.set)?;
    let texts = [
        ("model", "model", &args.model),
        ("data", "data", &args.data),
        ("from", "from", &args.from),
        ("method", "prune.method", &args.method),
    ];
    for (flag, key, value) in texts {
        let Some(value) = value else { continue };
        expect_alone(flag, key, &args.set)?;
        experiment = experiment.set(key, value.as_str());
    }
    if let Some(sparsity) = args.sparsity {
        expect_alone("sparsity", "prune.sparsity", &args.set)?;
        experiment = experiment.set("prune.sparsity", sparsity);
    }
    let numbers = [
        ("epochs", "train.epochs", args.epochs),
        ("batch-size", "train.batch_size", args.batch_size),
        ("max-steps", "train.max_steps", args.max_steps),
        ("seed", "seed", args.seed),
    ];
    for (flag, key, value) in numbers {
        let Some(n) = value else { continue };
        expect_alone(flag, key, &args.set)?;
        let value = i64::try_from(n).map_err(|_| usage(format!("--{flag} {n} is too large")))?;
        experiment = experiment.set(key, value);
    }
    Ok(experiment)
}

/// Rejects a setting of the key of an option.
fn expect_alone(flag: &str, key: &str, sets: &[String]) -> anyhow::Result<()> {
    for set in sets {
        if keys_of(set)?.iter().any(|other| other == key) {
            return Err(usage(format!("--{flag} and --set {set} set the same key; leave one out")));
        }
    }
    Ok(())
}

/// The interrupt that Ctrl-C and SIGTERM raise. All runs of this process share it.
pub(super) fn when_asked_to_stop() -> anyhow::Result<Interrupt> {
    static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();
    if let Some(interrupt) = INTERRUPT.get() {
        return Ok(interrupt.clone());
    }
    let handler = INTERRUPT.get_or_init(Interrupt::default).clone();
    let interrupt = handler.clone();
    on_stop(move || {
        if handler.is_raised() {
            // The second signal ends the program at once; the last checkpoint stays valid.
            std::process::exit(Exit::Interrupted.code().into());
        }
        handler.raise();
        if !ranks::is_another() {
            term::line("stopping after this step; a second signal stops at once");
        }
    })?;
    Ok(interrupt)
}

/// Prints the result of a run.
fn report(args: &Train, files: &RunFiles, result: &RunResult) -> anyhow::Result<()> {
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
        let pruned = files.path(NAMES.pruned);
        term::print(format_args!(
            "wrote {0}; `taper inspect {0}` lists its layers",
            pruned.display()
        ))?;
        if let Some(best) = &result.best {
            term::print(format_args!(
                "wrote {}, the network of epoch {} with the best {} accuracy at that sparsity; test accuracy {:.2} %",
                files.path(&best.file).display(),
                best.epoch + 1,
                result.chosen_on.as_deref().unwrap_or("test"),
                100.0 * best.test_accuracy,
            ))?;
        }
    }
    if totals.effective_sparsity == Some(1.0) {
        tracing::warn!(
            "no path of non-zero weights connects input and output: the network computes a constant; train longer or lower the sparsity"
        );
    }
    Ok(())
}
