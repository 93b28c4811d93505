//! The command `taper study significance`: do pruned weights matter?

use super::train;
use crate::{
    args::{Significance, Train},
    error::usage,
    machine, term,
};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use taper::{
    core::Step,
    distributed::Ranks,
    prune::DropRule,
    record::{
        NAMES, RunFiles,
        results::{Made, ManifestHead, ResultsKind, ToolVersions},
        rows, write_file,
    },
    train::Run,
};
use taper_experiment::{BUILT_FROM, Compute, Ended, Setup, difference, keys_of};
use taper_host::{Exit, machine};
use taper_report::{
    chart::{self, Screen},
    stats::median,
    study::{ShareRun, Study},
};
use taper_suite::Utc;

/// Rule name of the runs without drops.
const NONE: &str = "none";

/// One training run of the study.
struct Job {
    rule: String,
    share: f64,
    seed: u64,
    train: Train,
}

/// Runs or resumes the study.
pub fn significance(args: &Significance) -> anyhow::Result<ExitCode> {
    if args.train.dry_run {
        return Err(usage("--dry-run applies only to `taper train`, not to a study; leave it out"));
    }
    let out = args.train.out.clone().unwrap_or_else(|| PathBuf::from("runs/significance"));
    let compute = machine::prepare(&args.train.compute)?;
    let jobs = jobs(args, &out)?;
    refuse_others(args, &jobs, &compute, &out)?;
    let mut study = Study::default();
    for (i, job) in jobs.iter().enumerate() {
        if !args.train.quiet {
            let (place, n) = (i + 1, jobs.len());
            term::line(&format!("[{place}/{n}] {} {}, seed {}", job.rule, job.share, job.seed));
        }
        let Ended::Finished { result, .. } =
            train::train_to_end(&job.train, &compute, &Ranks::default())?
        else {
            return Ok(interrupted());
        };
        let n_live = result.n_live;
        let n_live =
            n_live.with_context(|| format!("{} of {} has no n_live", NAMES.result, job.place()))?;
        study.runs.push(ShareRun {
            rule: job.rule.clone(),
            share: job.share,
            seed: job.seed,
            accuracy: result.test_accuracy,
            live: n_live / result.totals.n_prunable as f64,
            step_seconds: None,
        });
        if job.rule == NONE {
            study.fates.extend(RunFiles::new(&job.folder()).fates()?);
        }
    }
    let first = study.runs.first().map(|run| run.seed);
    let timed: Vec<usize> = (0..jobs.len()).filter(|&i| Some(jobs[i].seed) == first).collect();
    if args.timed_steps > 0 {
        let Some(seconds) = time_in_turn(&jobs, &timed, &compute, args.timed_steps)? else {
            return Ok(interrupted());
        };
        // Times do not depend on the seed: only the first seed is measured.
        for (&i, &seconds) in timed.iter().zip(&seconds) {
            study.runs[i].step_seconds = Some(seconds);
        }
    }
    write(&study, &manifest(args, &jobs)?, &out)?;
    if args.train.json {
        term::print(serde_json::to_string_pretty(&of_shares(&study))?)?;
    } else if !args.train.quiet {
        term::print(study.markdown())?;
        term::print(format_args!("wrote {}", out.join("significance.svg").display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn interrupted() -> ExitCode {
    term::line("stopped; run the same command to resume");
    Exit::Interrupted.into()
}

/// The runs of the study: each fraction with each rule and seed. Fraction 0 is the same for all rules and runs once.
fn jobs(args: &Significance, out: &Path) -> anyhow::Result<Vec<Job>> {
    for &share in &args.shares {
        if !(0.0..=1.0).contains(&share) {
            return Err(usage(format!("--shares has {share}, outside [0, 1]")));
        }
    }
    for rule in &args.rules {
        if !DropRule::NAMES.contains(&rule.as_str()) {
            let legal = DropRule::NAMES.join(", ");
            return Err(usage(format!("--rules has `{rule}`; legal rules are {legal}")));
        }
    }
    let mut common = args.train.clone();
    let (mut own, mut of_drops) = (Vec::new(), Vec::new());
    for set in common.set {
        let keys = keys_of(&set)?;
        let has = |key: &str| keys.iter().any(|other| other == key);
        let options = [("prune.drop", "--rules and --shares"), ("prune.probes", "--probes")];
        if let Some((_, option)) = options.iter().find(|(key, _)| has(key)) {
            return Err(usage(format!(
                "--set {set} has no effect in a study; pass {option} instead"
            )));
        }
        match keys.iter().any(|key| key.starts_with("prune.drop_")) {
            true => of_drops.push(set),
            false => own.push(set),
        }
    }
    // Settings of drops have no effect in runs without drops. As shared settings they are allowed there.
    common.set = own;
    common.set_shared.extend(of_drops);
    let mut dropless = common.clone();
    dropless.set.push(format!("prune.drop=\"{NONE}\""));
    let experiment = train::experiment(&dropless)?.resolve()?;
    if experiment.is_dense() {
        let method = experiment.method();
        return Err(usage(format!(
            "method `{method}` prunes nothing; choose another with --method"
        )));
    }
    let mut kinds: Vec<(&str, f64)> = Vec::new();
    let none = [NONE.to_owned()];
    for &share in &args.shares {
        for rule in if share == 0.0 { &none[..] } else { &args.rules[..] } {
            if !kinds.contains(&(rule, share)) {
                kinds.push((rule, share));
            }
        }
    }
    let base = experiment.seed();
    let Some(end) = base.checked_add(args.seeds) else {
        return Err(usage(format!("--seed {base} is too large for {} seeds", args.seeds)));
    };
    let mut jobs = Vec::new();
    for (rule, share) in kinds {
        let rule = rule.to_owned();
        for seed in base..end {
            let mut train = common.clone();
            // The first seed is that of the experiment.
            train.set.retain(|set| keys_of(set).is_ok_and(|keys| keys != ["seed"]));
            train.set.extend(match rule == NONE {
                true => {
                    vec![format!("prune.probes={}", args.probes), format!("prune.drop=\"{NONE}\"")]
                }
                false => vec![format!("prune.drop=\"{rule}:{share}\"")],
            });
            train.seed = Some(seed);
            train.out = Some(out.join("runs").join(format!("{rule}-{share}-seed{seed}")));
            // `resume` together with `--force`: a run with the same recipe is resumed, another one is replaced.
            (train.resume, train.quiet, train.json) = (true, true, false);
            jobs.push(Job { rule: rule.clone(), share, seed, train });
        }
    }
    ensure!(!jobs.is_empty(), usage("--shares is empty"));
    Ok(jobs)
}

impl Job {
    fn setup(&self, compute: &Compute) -> anyhow::Result<Setup> {
        let experiment = train::experiment(&self.train)?.resolve()?;
        Setup::of(&experiment, compute, Some(&term::FetchBar::default()))
    }

    fn folder(&self) -> PathBuf {
        self.train.out.clone().unwrap_or_default()
    }

    fn place(&self) -> String {
        self.folder().display().to_string()
    }
}

/// Median seconds of a step at the end of each of these runs; `None` if interrupted. The runs take turns: a disturbance
/// of the machine then affects all of them.
fn time_in_turn(
    jobs: &[Job],
    timed: &[usize],
    compute: &Compute,
    n_steps: u64,
) -> anyhow::Result<Option<Vec<f64>>> {
    let setups =
        timed.iter().map(|&i| jobs[i].setup(compute)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut runs: Vec<Run> = Vec::new();
    for (setup, &i) in setups.iter().zip(timed) {
        let mut run = setup.run()?;
        let checkpoint = setup.checkpoints(&jobs[i].folder())?.latest()?;
        let checkpoint =
            checkpoint.with_context(|| format!("{} has no checkpoint", jobs[i].place()))?;
        checkpoint.restore(&mut run)?;
        runs.push(run);
    }
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); runs.len()];
    // The first round is a warm-up.
    let interrupt = train::when_asked_to_stop()?;
    for round in 0..=n_steps {
        if interrupt.is_raised() {
            return Ok(None);
        }
        for ((run, setup), times) in runs.iter_mut().zip(&setups).zip(&mut times) {
            let batch = setup.train.epoch(0).next().context("the training set is empty")?;
            let last = Step(run.recipe.total_steps(&setup.train)).previous();
            let begun = Instant::now();
            // A learning rate of 0 leaves the weights unchanged.
            run.step(last, batch, 0.0)?;
            if round > 0 {
                times.push(begun.elapsed().as_secs_f64());
            }
        }
    }
    Ok(Some(times.into_iter().map(median).collect()))
}

/// Files of a study, in addition to its runs. The first describes the study.
const FILES: [&str; 5] =
    ["manifest.json", "fates.csv", "shares.csv", "significance.svg", "summary.md"];

/// Fails if the folder has files that this study would overwrite. Files of another study require `--force`; other files
/// are never replaced.
fn refuse_others(
    args: &Significance,
    jobs: &[Job],
    compute: &Compute,
    out: &Path,
) -> anyhow::Result<()> {
    let paths = FILES.map(|name| out.join(name));
    let Some(found) = paths.iter().find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    let manifest = std::fs::read(&paths[0]).ok();
    let manifest = manifest.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let Some(manifest) = manifest.filter(|manifest| manifest["study"].is_object()) else {
        return Err(usage(format!(
            "{} exists, but no manifest.json of a study; move it away, or pass another --out",
            found.display()
        )));
    };
    let first = jobs.first().context("the study has no runs")?;
    let [old, new] = [&manifest["study"], &settings(args)].map(|study| json!({ "study": study }));
    // Older manifests have the recipe at the top level.
    let recipe = manifest.pointer("/run/recipe").unwrap_or(&manifest["recipe"]);
    let of_recipes = difference(recipe, &first.setup(compute)?.record);
    match of_recipes.or_else(|| difference(&old, &new)) {
        Some(difference) if !args.train.force => Err(usage(format!(
            "{} contains another study: {difference}; pass --force to replace its results, or another --out",
            out.display()
        ))),
        _ => Ok(()),
    }
}

/// The settings of a study, except the recipe of its runs.
fn settings(args: &Significance) -> Value {
    let mut shares: Vec<f64> = Vec::new();
    args.shares.iter().for_each(|share| {
        if !shares.contains(share) {
            shares.push(*share);
        }
    });
    json!({
        "shares": shares,
        "rules": args.rules,
        "seeds": args.seeds,
        "probes": args.probes,
        "timed_steps": args.timed_steps,
    })
}

/// The manifest: provenance, settings, and the record of the first run. Recipes of other runs differ only in seed and
/// drops.
fn manifest(args: &Significance, jobs: &[Job]) -> anyhow::Result<Value> {
    let files = RunFiles::new(&jobs.first().context("the study has no runs")?.folder());
    let run = files.run()?;
    let run = run.with_context(|| format!("{} does not exist", files.path(NAMES.run).display()))?;
    let last = run.segments.last();
    let words = std::env::args_os().skip(1);
    let command: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let head = ManifestHead {
        schema: 1,
        kind: ResultsKind::Study,
        title: "Significance of pruned weights".into(),
        made: Made {
            date: Utc::now().timestamp(),
            command: format!("taper {}", command.join(" ")),
            commit: BUILT_FROM.commit.map(str::to_owned),
            dirty: BUILT_FROM.is_dirty.unwrap_or(false),
            machine: machine(),
            versions: ToolVersions {
                rustc: BUILT_FROM.rustc.map(str::to_owned),
                taper: last.and_then(|segment| segment.versions.taper.clone()),
                candle: last.and_then(|segment| segment.versions.candle.clone()),
            },
        },
    };
    let mut manifest = serde_json::to_value(head)?;
    manifest["run"] = serde_json::to_value(run)?;
    manifest["study"] = settings(args);
    Ok(manifest)
}

fn write(study: &Study, manifest: &Value, out: &Path) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| write_file(&out.join(name), text.as_bytes());
    put("manifest.json", &serde_json::to_string_pretty(manifest)?)?;
    put("fates.csv", &rows::text(&study.totals())?)?;
    let mut shares = "rule,share,seed,accuracy,live,step_seconds\n".to_owned();
    for ShareRun { rule, share, seed, accuracy, live, step_seconds } in &study.runs {
        let seconds = step_seconds.map_or(String::new(), |seconds| seconds.to_string());
        shares += &format!("{rule},{share},{seed},{accuracy},{live},{seconds}\n");
    }
    put("shares.csv", &shares)?;
    let svg = chart::file(Study::height(Screen::Wide), &study.alt(), |screen, area| {
        study.paint(screen, area)
    })?;
    put("significance.svg", &svg)?;
    put("summary.md", &study.markdown())?;
    Ok(())
}

fn of_shares(study: &Study) -> Value {
    let share = |share: &taper_report::study::Share| {
        json!({
            "rule": share.rule,
            "share": share.share,
            "accuracy": share.accuracy.mean,
            "accuracy_deviation": share.accuracy.deviation,
            "live": share.live.mean,
            "step_seconds": share.step_seconds.map(|seconds| seconds.mean),
            "knee": study.knee(&share.rule),
        })
    };
    Value::Array(study.shares().iter().map(share).collect())
}
