//! Reads finished run folders into the lines of a results folder.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use taper_report::study::FateRow;

use crate::bands::same_sparsity;
use crate::machine::Machine;
use crate::relative::relative;
use crate::results::{
    CurveLine, FateLine, LayerLine, Results, RunLine, StepLine, Versions, read_csv,
};
use crate::suite::Job;

/// About as many steps as a figure can show are kept of a run.
const MAX_STEPS: usize = 200;

/// `result.json` of a run folder.
#[derive(Deserialize)]
struct ResultFile {
    model: String,
    data: String,
    epochs: u64,
    steps: u64,
    test_accuracy: f64,
    test_loss: f64,
    train_loss: f64,
    sparsity_target: Option<f64>,
    sparsity: f64,
    effective_sparsity: Option<f64>,
    n_params: u64,
    n_prunable: u64,
    n_kept: u64,
    macs_dense: u64,
    macs_sparse: u64,
    bytes_dense: u64,
    bytes_file: u64,
    seconds: f64,
    images_per_second: Option<f64>,
    n_filters: Option<u64>,
    n_dead_filters: Option<u64>,
    dead_grad_share: Option<f64>,
    n_dropped: Option<u64>,
    n_live: Option<f64>,
    layers: Vec<LayerFile>,
}

#[derive(Deserialize)]
struct LayerFile {
    name: String,
    kind: String,
    shape: Vec<u64>,
    n_weights: u64,
    n_kept: u64,
    sparsity: f64,
    macs_dense: u64,
    macs_sparse: u64,
}

/// The part of `run.json` that we need.
#[derive(Deserialize)]
struct RunFile {
    #[serde(default)]
    recipe: Value,
    #[serde(default)]
    segments: Vec<SegmentFile>,
    /// Version 1 had but the last segment, at the top.
    #[serde(flatten)]
    version_1: SegmentFile,
}

/// What computed a run's steps for a while.
#[derive(Deserialize)]
struct SegmentFile {
    commit: Option<String>,
    dirty: Option<bool>,
    #[serde(default)]
    versions: VersionsFile,
    machine: Option<Machine>,
}

impl RunFile {
    fn segments(&self) -> &[SegmentFile] {
        if self.segments.is_empty() {
            std::slice::from_ref(&self.version_1)
        } else {
            &self.segments
        }
    }

    /// The commits, each once; none if one is not known.
    fn commit(&self) -> Option<String> {
        let mut commits: Vec<&str> = Vec::new();
        for segment in self.segments() {
            let commit = segment.commit.as_deref()?;
            if !commits.contains(&commit) {
                commits.push(commit);
            }
        }
        Some(commits.join(" "))
    }

    /// Whether a program with changes had a part in it; none where that is not known.
    fn dirty(&self) -> Option<bool> {
        let dirty = self.segments().iter().map(|segment| segment.dirty);
        match dirty.clone().any(|dirty| dirty == Some(true)) {
            true => Some(true),
            false => dirty.collect::<Option<Vec<_>>>().map(|_| false),
        }
    }
}

#[derive(Default, Deserialize)]
struct VersionsFile {
    taper: Option<String>,
    candle: Option<String>,
}

/// The part of a line of `metrics.csv` that we need.
#[derive(Deserialize)]
struct MetricsLine {
    epoch: u64,
    step: u64,
    lr: Option<f64>,
    sparsity_target: Option<f64>,
    sparsity: Option<f64>,
    train_loss: Option<f64>,
    train_accuracy: Option<f64>,
    test_loss: Option<f64>,
    test_accuracy: Option<f64>,
}

/// The part of a line of `timing.csv` that we need.
#[derive(Deserialize)]
struct TimingLine {
    images_per_second: f64,
}

/// The part of a line of `steps.jsonl` that we need.
#[derive(Deserialize)]
struct StepsLine {
    step: u64,
    sparsity_target: Option<f64>,
    sparsity: Option<f64>,
    clock: Option<f64>,
}

/// The part of a line of `masks.csv` that we need.
#[derive(Deserialize)]
struct MasksLine {
    step: u64,
    n_kept: u64,
    n_entered: u64,
}

/// Adds a finished run, in `folder`, to results that will be in `dir`.
///
/// # Errors
/// When a file of the run folder is missing or does not hold what it should; nothing is added then.
pub(crate) fn add(results: &mut Results, job: &Job, folder: &Path, dir: &Path) -> Result<()> {
    let result: ResultFile = read_json(&folder.join("result.json"))?;
    let run: RunFile = read_json(&folder.join("run.json"))?;
    let metrics: Vec<MetricsLine> = read_csv(&folder.join("metrics.csv"))?;
    let text =
        |pointer: &str| run.recipe.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    // A plain schedule is the same for each seed, so one run shows it, and the long files of the others are not read.
    let is_plain = text("/prune/adapt").is_none_or(|rate| rate == "none");
    let steps = match is_plain && job.seed > 0 {
        true => Vec::new(),
        false => read_steps(&folder.join("steps.jsonl"))?,
    };
    let optional = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let masks: Vec<MasksLine> = match optional("masks.csv") {
        Some(path) if !steps.is_empty() => read_csv(&path)?,
        _ => Vec::new(),
    };
    let timing: Vec<TimingLine> = match optional("timing.csv") {
        Some(path) => read_csv(&path)?,
        None => Vec::new(),
    };
    let fates = match optional("significance.csv") {
        Some(path) => {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            FateRow::read(&text)
                .with_context(|| format!("{} is no record of fates", path.display()))?
        }
        None => Vec::new(),
    };
    if let (Some(asked), Some(recorded)) = (job.sparsity, result.sparsity_target) {
        ensure!(
            same_sparsity(Some(asked), Some(recorded)),
            "{} was trained for sparsity {recorded}, asked for was {asked}",
            folder.display()
        );
    }

    for segment in run.segments() {
        let versions = &mut results.manifest.made.versions;
        let VersionsFile { taper, candle } = &segment.versions;
        *versions = Versions {
            rustc: versions.rustc.take(),
            taper: versions.taper.take().or_else(|| taper.clone()),
            candle: versions.candle.take().or_else(|| candle.clone()),
        };
        if let Some(machine) = &segment.machine {
            results.made_on(machine, &job.key);
        }
    }
    results.curves.extend(metrics.into_iter().map(|line| CurveLine {
        row: job.row.clone(),
        cell: job.sparsity,
        seed: job.seed,
        epoch: line.epoch,
        step: line.step,
        lr: line.lr,
        sparsity_target: line.sparsity_target,
        sparsity: line.sparsity,
        train_loss: line.train_loss,
        train_accuracy: line.train_accuracy,
        test_loss: line.test_loss,
        test_accuracy: line.test_accuracy,
    }));
    let mut masks = masks.into_iter().peekable();
    results.steps.extend(steps.into_iter().filter_map(|line| {
        let (mut n_entered, mut n_kept) = (0, 0);
        while let Some(refresh) = masks.next_if(|refresh| refresh.step <= line.step) {
            (n_entered, n_kept) = (n_entered + refresh.n_entered, n_kept + refresh.n_kept);
        }
        Some(StepLine {
            row: job.row.clone(),
            cell: job.sparsity,
            seed: job.seed,
            step: line.step,
            sparsity_target: line.sparsity_target?,
            sparsity: line.sparsity?,
            entered: (n_kept > 0).then(|| n_entered as f64 / n_kept as f64),
            clock: line.clock,
        })
    }));
    results.layers.extend(result.layers.into_iter().map(|layer| LayerLine {
        row: job.row.clone(),
        cell: job.sparsity,
        seed: job.seed,
        layer: layer.name,
        kind: layer.kind,
        shape: layer.shape.iter().map(u64::to_string).collect::<Vec<_>>().join("x"),
        n_weights: layer.n_weights,
        n_kept: layer.n_kept,
        sparsity: layer.sparsity,
        macs_dense: layer.macs_dense,
        macs_sparse: layer.macs_sparse,
    }));
    results.fates.extend(fates.into_iter().map(|fate| FateLine {
        row: job.row.clone(),
        cell: job.sparsity,
        seed: job.seed,
        step: fate.step,
        decile: fate.decile,
        age: fate.age,
        n_pruned: fate.n_pruned,
        n_back: fate.n_back,
        n_kept: fate.n_kept,
    }));
    let batch_size = run.recipe.pointer("/train/batch_size").and_then(Value::as_f64);
    let rate = timing.last().map(|line| line.images_per_second).filter(|rate| *rate > 0.0);
    results.runs.push(RunLine {
        key: job.key.clone(),
        row: job.row.clone(),
        sparsity_target: job.sparsity,
        seed: job.seed,
        model: result.model,
        data: result.data,
        epochs: result.epochs,
        steps: result.steps,
        test_accuracy: result.test_accuracy,
        test_loss: result.test_loss,
        train_loss: result.train_loss,
        sparsity: result.sparsity,
        effective_sparsity: result.effective_sparsity,
        n_params: result.n_params,
        n_prunable: result.n_prunable,
        n_kept: result.n_kept,
        macs_dense: result.macs_dense,
        macs_sparse: result.macs_sparse,
        bytes_dense: result.bytes_dense,
        bytes_file: result.bytes_file,
        seconds: result.seconds,
        images_per_second: result.images_per_second,
        n_filters: result.n_filters,
        n_dead_filters: result.n_dead_filters,
        dead_grad_share: result.dead_grad_share,
        n_dropped: result.n_dropped,
        n_live: result.n_live,
        step_seconds: batch_size.zip(rate).map(|(images, rate)| images / rate),
        drop: text("/prune/drop"),
        checkpoint: Some(relative(&folder.join("pruned.safetensors"), dir)),
        quantile: text("/prune/quantile"),
        structure: text("/prune/structure"),
        renewal: text("/prune/renewal"),
        commit: run.commit(),
        dirty: run.dirty(),
    });
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
}

/// Reads every n-th line, the first and the last.
fn read_steps(path: &Path) -> Result<Vec<StepsLine>> {
    let open = || File::open(path).with_context(|| format!("cannot read {}", path.display()));
    // Read twice rather than held in memory: a long run has a line for each of some hundred thousand steps.
    let n_lines = BufReader::new(open()?).lines().count();
    let stride = n_lines.div_ceil(MAX_STEPS).max(1);
    let mut steps = Vec::new();
    for (i, line) in BufReader::new(open()?).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if i % stride == 0 || i + 1 == n_lines {
            let step = serde_json::from_str(&line);
            steps.push(step.with_context(|| format!("in line {} of {}", i + 1, path.display()))?);
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_who_computed_it() {
        let run = |text: &str| serde_json::from_str::<RunFile>(text).expect("reads");
        let machine = r#"{"os":"o","arch":"a","cpu":"c","cores":2,"gpu":"G"}"#;
        let segment = |commit: &str, dirty: &str| {
            format!(r#"{{"from_step":0,"commit":{commit},"dirty":{dirty},"machine":{machine}}}"#)
        };
        let both = |a: String, b: String| run(&format!(r#"{{"segments":[{a},{b}]}}"#));
        let two = both(segment(r#""x""#, "false"), segment(r#""y""#, "true"));
        assert_eq!((two.commit().as_deref(), two.dirty()), (Some("x y"), Some(true)));
        let gpu = two.segments()[1].machine.as_ref().and_then(|machine| machine.gpu.as_deref());
        assert_eq!(gpu, Some("G"));
        let one = both(segment(r#""x""#, "false"), segment(r#""x""#, "null"));
        assert_eq!((one.commit().as_deref(), one.dirty()), (Some("x"), None));
        let unknown = both(segment("null", "false"), segment(r#""x""#, "false"));
        assert_eq!((unknown.commit(), unknown.dirty()), (None, Some(false)));
        let old = format!(r#"{{"schema":1,"recipe":{{}},"commit":"z","machine":{machine}}}"#);
        let old = run(&old);
        assert_eq!((old.commit().as_deref(), old.dirty()), (Some("z"), None));
        assert_eq!(old.segments()[0].machine.as_ref().and_then(|machine| machine.cores), Some(2));
    }

    #[test]
    fn steps_are_thinned_but_keep_both_ends() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("steps.jsonl");
        let write = |n: u64| {
            let lines: String = (0..n)
                .map(|step| format!("{{\"step\":{step},\"loss\":1.0,\"sparsity_target\":0.5,\"sparsity\":null}}\n"))
                .collect();
            std::fs::write(&path, lines).expect("writes");
            let steps = read_steps(&path).expect("reads");
            (steps.len(), steps.first().map(|s| s.step), steps.last().map(|s| s.step))
        };
        assert_eq!(write(0), (0, None, None));
        assert_eq!(write(200), (200, Some(0), Some(199)));
        assert_eq!(write(1000), (201, Some(0), Some(999)));
    }
}
