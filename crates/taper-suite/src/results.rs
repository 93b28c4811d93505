//! The files of a results folder, and how they are read and written.
//!
//! `manifest.json` and the CSV files hold all data; `summary.md` and `report.html` are generated from them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use taper_host::Usage;
use taper_record::{fate::FateRow, write_together};

use crate::bands::Band;
use crate::sparsity::same_sparsity;
use crate::suite::{Job, SuiteRow};
use taper_record::Machine;
use taper_record::results::{Made, ManifestHead, ResultsKind};

/// Version of the files; a higher version is rejected. Up to version 2, the keys of runs depended on their recipes as
/// written.
pub const SCHEMA: u32 = 3;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the files.
    pub schema: u32,
    /// Marks results of a suite.
    #[serde(default)]
    pub kind: ResultsKind,
    /// Name of the suite.
    pub suite: String,
    /// Heading of the report.
    pub title: String,
    /// When, how and where it was made.
    #[serde(flatten)]
    pub made: Made,
    /// Number of seeds.
    pub seeds: u64,
    /// Name of the row with which the report compares the others; if `None`, the first pruned row that has runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Whether intervals use a standard deviation that is pooled over the rows of a sparsity.
    #[serde(default)]
    pub pooled_deviation: bool,
    /// The rows, in the order of the tables.
    pub rows: Vec<SuiteRow>,
    /// The bands of the cells.
    pub bands: Vec<Band>,
    /// Runs that ended in an error.
    pub failed: Vec<FailedRun>,
    /// The machines that executed the runs; empty in older results.
    #[serde(default)]
    pub machines: Vec<MadeOn>,
    /// The origins of runs that come from other results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<TakenFrom>,
}

/// Other results from which runs were taken. Their command gathered the runs, and may have executed only the last of
/// them; the commit of each run is in `runs.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TakenFrom {
    /// When, how and where these results were made.
    #[serde(flatten)]
    pub made: Made,
    /// Keys of the runs.
    pub runs: Vec<String>,
}

/// A machine and its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeOn {
    /// The machine.
    pub machine: Machine,
    /// Keys of the runs that it executed, completely or in part.
    pub runs: Vec<String>,
}

/// A run that ended in an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedRun {
    /// Name of its folder.
    pub key: String,
    /// Name of its row.
    pub row: String,
    /// Sparsity of its cell; `None` for a row without.
    pub sparsity: Option<f64>,
    /// Its seed.
    pub seed: u64,
    /// The reason, as text.
    pub reason: String,
    /// Last lines of its log.
    pub log: Vec<String>,
}

/// A line of `runs.csv`: a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// Name of its folder, which contains a hash of its recipe.
    pub key: String,
    /// Name of its row.
    pub row: String,
    /// The target sparsity; `None` for a row without.
    pub sparsity_target: Option<f64>,
    /// Its seed.
    pub seed: u64,
    /// Architecture.
    pub model: String,
    /// Data set.
    pub data: String,
    /// Epochs done.
    pub epochs: u64,
    /// Steps done.
    pub steps: u64,
    /// Accuracy on the test images, a fraction.
    pub test_accuracy: f64,
    /// Mean loss of the test images.
    pub test_loss: f64,
    /// Mean loss of the last epoch.
    pub train_loss: f64,
    /// The achieved sparsity.
    pub sparsity: f64,
    /// The sparsity that also counts weights without a connection to input or output.
    pub effective_sparsity: Option<f64>,
    /// Number of parameters.
    pub n_params: u64,
    /// Number of parameters that may be pruned.
    pub n_prunable: u64,
    /// Number of prunable parameters that are not zero.
    pub n_kept: u64,
    /// Multiplications per image, of the dense network.
    pub macs_dense: u64,
    /// Multiplications per image, of the kept weights.
    pub macs_sparse: u64,
    /// Size of all parameters in f32.
    pub bytes_dense: u64,
    /// Size of the pruned checkpoint.
    pub bytes_file: u64,
    /// Seconds of training and evaluation.
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: Option<f64>,
    /// Output channels of convolutions; `None` in older results, like all fields that follow.
    #[serde(default)]
    pub n_filters: Option<u64>,
    /// Filters that have lost every weight.
    #[serde(default)]
    pub n_dead_filters: Option<u64>,
    /// Mean fraction of the gradient norm in dead filters, over the last epoch.
    #[serde(default)]
    pub dead_grad_share: Option<f64>,
    /// Weights that were permanently pruned.
    #[serde(default)]
    pub n_dropped: Option<u64>,
    /// Mean number of prunable weights that received a gradient, over the last epoch.
    #[serde(default)]
    pub n_live: Option<f64>,
    /// Seconds per step in the last epoch.
    #[serde(default)]
    pub step_seconds: Option<f64>,
    /// Which weights were dropped, from the recipe: `none`, or a rule and a fraction.
    #[serde(default)]
    pub drop: Option<String>,
    /// The pruned checkpoint, relative to the results folder.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// `exact` or `interpolated`, from the recipe; if `exact`, the kept count is checked.
    pub quantile: Option<String>,
    /// Units that are kept together, if not single weights.
    #[serde(default)]
    pub structure: Option<String>,
    /// How masks change, if they do not keep the best weights at each update.
    #[serde(default)]
    pub renewal: Option<String>,
    /// Commit of the run, which may be older than that of the manifest; several, separated by spaces, if it was resumed
    /// with another program.
    pub commit: Option<String>,
    /// Whether its program was built from a work tree that differed from the commit; `None` if unknown.
    #[serde(default)]
    pub dirty: Option<bool>,
}

/// A line of `curves.csv`: an epoch of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurveLine {
    /// Name of the row.
    pub row: String,
    /// The sparsity of the cell, not of the epoch.
    pub cell: Option<f64>,
    /// Seed of the run.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Learning rate.
    pub lr: Option<f64>,
    /// Target sparsity of the schedule.
    pub sparsity_target: Option<f64>,
    /// Achieved sparsity.
    pub sparsity: Option<f64>,
    /// Mean training loss of its steps.
    pub train_loss: Option<f64>,
    /// Training accuracy in its steps, a fraction.
    pub train_accuracy: Option<f64>,
    /// Mean loss of the test images.
    pub test_loss: Option<f64>,
    /// Accuracy on the test images, a fraction.
    pub test_accuracy: Option<f64>,
}

/// A line of `steps.csv`: a step of a run. Steps are thinned out; they are from the first run of a cell, or from all
/// runs if the schedule is adaptive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Name of the row.
    pub row: String,
    /// Sparsity of the cell.
    pub cell: Option<f64>,
    /// Seed of the run.
    pub seed: u64,
    /// The step, from 0.
    pub step: u64,
    /// Target sparsity of the schedule.
    pub sparsity_target: f64,
    /// Achieved sparsity.
    pub sparsity: f64,
    /// Of the weights that the mask updates since the previous line keep, the fraction that entered; `None` if no
    /// update was recorded.
    #[serde(default)]
    pub entered: Option<f64>,
    /// Position of an adaptive schedule, in steps of the plain ramp.
    #[serde(default)]
    pub clock: Option<f64>,
}

/// A line of `layers.csv`: a layer of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerLine {
    /// Name of the row.
    pub row: String,
    /// Sparsity of the cell.
    pub cell: Option<f64>,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the layer.
    pub layer: String,
    /// Its kind, such as `conv`.
    pub kind: String,
    /// Its shape, as `64x32x3x3`.
    pub shape: String,
    /// Number of weights.
    pub n_weights: u64,
    /// Number of weights that are not zero.
    pub n_kept: u64,
    /// Fraction of weights that are zero.
    pub sparsity: f64,
    /// Multiplications per image, of the dense layer.
    pub macs_dense: u64,
    /// Multiplications per image, of the kept weights.
    pub macs_sparse: u64,
}

/// A line of `fates.csv`: what became of a group of pruned weights, in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FateLine {
    /// Name of the row.
    pub row: String,
    /// Sparsity of the cell.
    pub cell: Option<f64>,
    /// Seed of the run.
    pub seed: u64,
    /// The step from which they were followed.
    pub step: u64,
    /// Tenth of the threshold.
    pub decile: u64,
    /// Minimum number of steps since they were pruned.
    pub age: u64,
    /// Number of weights that were pruned then.
    pub n_pruned: u64,
    /// Number of these weights that were kept at some time since.
    pub n_back: u64,
    /// Number of these weights that are kept at the end.
    pub n_kept: u64,
}

impl FailedRun {
    /// The record of a job that failed for this reason.
    pub(crate) fn of(job: &Job, reason: String, log: Vec<String>) -> Self {
        Self {
            key: job.key.clone(),
            row: job.row.clone(),
            sparsity: job.sparsity,
            seed: job.seed,
            reason,
            log,
        }
    }
}

impl FateLine {
    /// The fate without its run.
    pub fn fate(&self) -> FateRow {
        let Self { step, decile, age, n_pruned, n_back, n_kept, .. } = *self;
        FateRow { step, decile, age, n_pruned, n_back, n_kept }
    }
}

/// Everything in a results folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Their manifest.
    pub manifest: Manifest,
    /// The finished runs.
    pub runs: Vec<RunLine>,
    /// Their epochs.
    pub curves: Vec<CurveLine>,
    /// Steps of some of them.
    pub steps: Vec<StepLine>,
    /// Their layers.
    pub layers: Vec<LayerLine>,
    /// Fates from runs that followed pruned weights; the file exists only if a run did.
    pub fates: Vec<FateLine>,
}

impl Results {
    /// Records that a machine executed at least a part of a run.
    pub fn made_on(&mut self, machine: &Machine, key: &str) {
        let machines = &mut self.manifest.machines;
        let place = machines.iter().position(|on| on.machine == *machine).unwrap_or_else(|| {
            machines.push(MadeOn { machine: machine.clone(), runs: Vec::new() });
            machines.len() - 1
        });
        let runs = &mut machines[place].runs;
        if !runs.iter().any(|run| run == key) {
            runs.push(key.to_owned());
        }
    }

    /// The steps of the first run of a cell.
    pub fn steps_of(&self, row: &str, target: Option<f64>) -> Vec<&StepLine> {
        let is_here = |line: &&StepLine| line.row == row && same_sparsity(line.cell, target);
        let mut lines: Vec<&StepLine> = self.steps.iter().filter(is_here).collect();
        let first = lines.iter().map(|line| line.seed).min();
        lines.retain(|line| Some(line.seed) == first);
        lines
    }

    /// Reads a results folder.
    ///
    /// # Errors
    /// If a file is missing or not valid, or has a later schema.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("manifest.json");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Usage::new(format!(
                "cannot read {}: {error}; is this a results folder?",
                path.display()
            ))
        })?;
        let other = serde_json::from_str::<ManifestHead>(&text).ok().map(|head| head.kind);
        if let Some(kind) = other.filter(|kind| *kind != ResultsKind::Suite) {
            bail!(Usage::new(format!(
                "{} contains results of a {}, not of a suite; pass the results folder of a suite",
                dir.display(),
                kind.name()
            )));
        }
        let manifest: Manifest =
            serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        ensure!(
            manifest.schema <= SCHEMA,
            "{} has schema {}, but this program reads schemas up to {SCHEMA}",
            path.display(),
            manifest.schema
        );
        Ok(Self {
            manifest,
            runs: read_csv(&dir.join("runs.csv"))?,
            curves: read_csv(&dir.join("curves.csv"))?,
            steps: read_csv(&dir.join("steps.csv"))?,
            layers: read_csv(&dir.join("layers.csv"))?,
            fates: match dir.join("fates.csv") {
                path if path.exists() => read_csv(&path)?,
                _ => Vec::new(),
            },
        })
    }

    /// Writes the manifest and the CSV files: all of them, or none if the disk is full.
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut manifest = serde_json::to_string_pretty(&self.manifest)?;
        manifest.push('\n');
        let mut files = vec![
            ("runs.csv", csv_of(&self.runs, "key,row,sparsity_target,seed\n")?),
            ("curves.csv", csv_of(&self.curves, "row,cell,seed,epoch\n")?),
            ("steps.csv", csv_of(&self.steps, "row,cell,seed,step\n")?),
            ("layers.csv", csv_of(&self.layers, "row,cell,seed,layer\n")?),
            ("manifest.json", manifest.into_bytes()),
        ];
        let fates = dir.join("fates.csv");
        if !self.fates.is_empty() {
            files.push(("fates.csv", csv_of(&self.fates, "")?));
        }
        let files: Vec<_> =
            files.into_iter().map(|(name, bytes)| (dir.join(name), bytes)).collect();
        write_together(&files)?;
        if self.fates.is_empty() && fates.exists() {
            // An older file would look like a part of these results.
            std::fs::remove_file(&fates)
                .with_context(|| format!("cannot remove {}", fates.display()))?;
        }
        Ok(())
    }
}

/// Reads a CSV file with a header, by column names; unknown columns are ignored.
fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    reader.deserialize().collect::<Result<_, _>>().with_context(|| format!("in {}", path.display()))
}

/// Formats a CSV file. The serializer derives the header from the first line, so a file without lines needs one.
fn csv_of<T: Serialize>(lines: &[T], header_if_empty: &str) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.serialize(line)?;
    }
    let mut bytes = writer.into_inner().context("cannot end the CSV file")?;
    if lines.is_empty() {
        bytes = header_if_empty.as_bytes().to_vec();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn saved_results_load_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let results = testing::results();
        results.save(dir.path()).expect("saves");
        assert_eq!(Results::load(dir.path()).expect("loads"), results);
    }

    #[test]
    fn empty_results_load_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut results = testing::results();
        results.runs.clear();
        results.curves.clear();
        results.steps.clear();
        results.layers.clear();
        results.save(dir.path()).expect("saves");
        assert_eq!(Results::load(dir.path()).expect("loads"), results);
    }

    #[test]
    fn the_steps_of_a_cell_are_those_of_its_first_run() {
        let mut results = testing::results();
        let n = results.steps_of("feather", Some(0.95)).len();
        let of_second = results
            .steps
            .iter()
            .map(|line| StepLine { seed: 1, ..line.clone() })
            .collect::<Vec<_>>();
        results.steps.splice(0..0, of_second);
        let lines = results.steps_of("feather", Some(0.95));
        assert!(n > 0 && lines.len() == n && lines.iter().all(|line| line.seed == 0));
        results.steps.retain(|line| line.seed == 1);
        assert_eq!(results.steps_of("feather", Some(0.95)).len(), n, "if that is another run");
    }

    #[test]
    fn a_later_schema_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut results = testing::results();
        results.manifest.schema = SCHEMA + 1;
        results.save(dir.path()).expect("saves");
        let error = Results::load(dir.path()).expect_err("must be refused");
        assert!(error.to_string().contains("schema 4"), "{error}");
    }
}
