//! Reads finished run folders into the lines of a results folder.

use std::path::Path;
use taper_record::results::ToolVersions;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use taper_record::{NAMES, RunFiles};

use crate::relative::relative;
use crate::results::{CurveLine, FateLine, LayerLine, Results, RunLine, StepLine};
use crate::sparsity::same_sparsity;
use crate::suite::Job;

/// Number of steps to keep of a run: about what a figure can show.
const MAX_STEPS: usize = 200;

/// Adds a finished run, in `folder`, to results that will be in `dir`.
///
/// # Errors
/// If a file of the run folder is missing or not valid; nothing is added then.
pub(crate) fn add(results: &mut Results, job: &Job, folder: &Path, dir: &Path) -> Result<()> {
    let files = RunFiles::new(folder);
    let missing = |name: &str| format!("{} does not exist", files.path(name).display());
    let result = files.result()?.with_context(|| missing(NAMES.result))?;
    let run = files.run()?.with_context(|| missing(NAMES.run))?;
    let epochs = files.epochs()?;
    let text = |pointer: &str| run.text(pointer).map(str::to_owned);
    // A plain schedule is the same for each seed: one run shows it, and the long files of the other runs are not read.
    let is_plain = run.text("/prune/adapt").is_none_or(|rate| rate == "none");
    let is_shown = !results.steps_of(&job.row, job.sparsity).is_empty();
    let steps = match is_plain && is_shown {
        true => Vec::new(),
        false => files.steps(MAX_STEPS)?,
    };
    let masks = if steps.is_empty() { Vec::new() } else { files.masks()? };
    let (timing, fates) = (files.timing()?, files.fates()?);
    if let Some(difference) = job.difference(&run.recipe) {
        bail!("{} was trained with another recipe: {difference}", folder.display());
    }
    if let (Some(asked), Some(recorded)) = (job.sparsity, result.sparsity_target) {
        ensure!(
            same_sparsity(Some(asked), Some(recorded)),
            "{} was trained for sparsity {recorded}, not {asked}",
            folder.display()
        );
    }

    for segment in &run.segments {
        let versions = &mut results.manifest.made.versions;
        let taper_record::run::Versions { taper, candle } = &segment.versions;
        *versions = ToolVersions {
            rustc: versions.rustc.take(),
            taper: versions.taper.take().or_else(|| taper.clone()),
            candle: versions.candle.take().or_else(|| candle.clone()),
        };
        results.made_on(&segment.machine, &job.key);
    }
    let known = |number: f64| (!number.is_nan()).then_some(number);
    results.curves.extend(epochs.into_iter().map(|line| CurveLine {
        row: job.row.clone(),
        cell: job.sparsity,
        seed: job.seed,
        epoch: line.epoch,
        step: line.step,
        lr: known(line.lr),
        sparsity_target: known(line.sparsity_target),
        sparsity: known(line.sparsity),
        train_loss: known(line.train_loss),
        train_accuracy: known(line.train_accuracy),
        test_loss: known(line.test_loss),
        test_accuracy: known(line.test_accuracy),
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
        shape: layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
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
        sparsity: result.totals.sparsity,
        effective_sparsity: result.totals.effective_sparsity,
        n_params: result.n_params,
        n_prunable: result.totals.n_prunable,
        n_kept: result.totals.n_kept,
        macs_dense: result.totals.macs_dense,
        macs_sparse: result.totals.macs_sparse,
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
        checkpoint: Some(relative(&files.path(NAMES.pruned), dir)),
        quantile: text("/prune/quantile"),
        structure: text("/prune/structure").filter(|name| name != "single"),
        renewal: text("/prune/renewal"),
        commit: run.commits(),
        dirty: run.is_dirty(),
    });
    Ok(())
}
