//! Cells: the runs of one row at one sparsity, their summary and their verdict.

use crate::bands::Band;
use crate::results::{Results, RunLine};
use crate::sparsity::same_sparsity;
use crate::suite::SuiteRow;
use taper_host::Exit;
use taper_report::format;
use taper_report::stats::Summary;

/// The runs of one row at one sparsity.
pub struct Cell<'a> {
    /// Its row.
    pub row: &'a SuiteRow,
    /// The target sparsity; `None` for a row without.
    pub target: Option<f64>,
    /// Finished runs, one per seed.
    pub runs: Vec<&'a RunLine>,
    /// Its band, if there is one.
    pub band: Option<&'a Band>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The result of checking a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Within its band, and all checks hold.
    Pass,
    /// Outside its band, or a check fails; the reasons, at least one.
    Fail(Vec<String>),
    /// All checks hold, but fewer runs than the suite has seeds are finished. A band is for the mean of all of them.
    Incomplete,
    /// All checks hold; there is no band to compare with.
    NoBand,
    /// No run of the cell has finished yet.
    NotRun,
}

impl Verdict {
    /// One or two words for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::Incomplete => "incomplete",
            Self::NoBand => "no band",
            Self::NotRun => "not run",
        }
    }

    /// Whether it is a pass or a fail.
    pub fn is_judged(&self) -> bool {
        matches!(self, Self::Pass | Self::Fail(_))
    }

    /// Why it failed; empty otherwise.
    pub fn reasons(&self) -> &[String] {
        if let Self::Fail(reasons) = self { reasons } else { &[] }
    }
}

impl Cell<'_> {
    /// Mean and standard deviation of a number of the runs; `None` without runs, or if a run lacks the number.
    pub fn summary(&self, number: impl Fn(&RunLine) -> Option<f64>) -> Option<Summary> {
        let values: Option<Vec<f64>> = self.runs.iter().map(|run| number(run)).collect();
        Summary::of(values?)
    }

    /// Mean and standard deviation of the test accuracy, a fraction.
    pub fn accuracy(&self) -> Option<Summary> {
        self.summary(|run| Some(run.test_accuracy))
    }

    /// Its name in messages: `Feather at 95 %`.
    pub fn name(&self) -> String {
        match self.target {
            Some(target) => format!("{} at {}", self.row.label, format::percent_short(target)),
            None => self.row.label.clone(),
        }
    }
}

/// All cells, in the order of the suite.
pub fn cells(results: &Results) -> Vec<Cell<'_>> {
    let manifest = &results.manifest;
    let mut cells = Vec::new();
    for row in &manifest.rows {
        for target in row.targets() {
            let here = |name: &str, s: Option<f64>| name == row.name && same_sparsity(s, target);
            let runs: Vec<&RunLine> =
                results.runs.iter().filter(|run| here(&run.row, run.sparsity_target)).collect();
            let failed = manifest.failed.iter().filter(|run| here(&run.row, run.sparsity)).count();
            let band = manifest.bands.iter().find(|band| band.is_for(&row.name, target));
            let mut cell = Cell { row, target, runs, band, verdict: Verdict::NotRun };
            cell.verdict = judge(&cell, failed, manifest.seeds);
            cells.push(cell);
        }
    }
    cells
}

/// The cells that tables show: those that have been run, or all cells while none has been run.
pub fn shown(results: &Results) -> Vec<Cell<'_>> {
    let mut cells = cells(results);
    if cells.iter().any(|cell| cell.verdict != Verdict::NotRun) {
        cells.retain(|cell| cell.verdict != Verdict::NotRun);
    }
    cells
}

/// Whether no run and no cell failed. Cells without a band, and cells of which runs are missing, do not fail.
pub fn passed(results: &Results) -> bool {
    results.manifest.failed.is_empty()
        && cells(results).iter().all(|cell| !matches!(cell.verdict, Verdict::Fail(_)))
}

/// The exit code of a command with these results.
pub fn exit(results: &Results) -> Exit {
    if passed(results) { Exit::Done } else { Exit::Missed }
}

fn judge(cell: &Cell, failed: usize, seeds: u64) -> Verdict {
    let mut reasons: Vec<String> = cell.runs.iter().flat_map(|run| objections(run)).collect();
    if failed > 0 {
        reasons.push(format!("{failed} {} failed", if failed == 1 { "run" } else { "runs" }));
    }
    let mean = cell.accuracy().map(|summary| summary.mean);
    let is_whole = cell.runs.len() as u64 >= seeds;
    if let (true, Some(band), Some(mean)) = (is_whole, cell.band, mean) {
        reasons.extend(band.objection(mean));
    }
    match (mean, cell.band) {
        _ if !reasons.is_empty() => Verdict::Fail(reasons),
        (None, _) => Verdict::NotRun,
        (_, Some(_)) if !is_whole => Verdict::Incomplete,
        (_, Some(_)) => Verdict::Pass,
        (_, None) => Verdict::NoBand,
    }
}

/// Checks for each run, whatever the bands: the reported numbers must agree with each other.
fn objections(run: &RunLine) -> Vec<String> {
    let mut found = Vec::new();
    let mut object = |text: String| found.push(format!("seed {}: {text}", run.seed));
    if !run.test_accuracy.is_finite() || !run.train_loss.is_finite() {
        object("accuracy or loss is not finite".to_owned());
    }
    if run.n_kept > run.n_prunable {
        object(format!("it keeps {} of {} weights", run.n_kept, run.n_prunable));
        return found;
    }
    let n = run.n_prunable as f64;
    let counted = 1.0 - run.n_kept as f64 / n.max(1.0);
    if n > 0.0 && (counted - run.sparsity).abs() * n > 0.5 {
        object(format!(
            "sparsity {} disagrees with {} of {} weights kept",
            run.sparsity, run.n_kept, run.n_prunable
        ));
    }
    // A row without a target is dense, or a pattern or learned thresholds decide its sparsity.
    if let Some(target) = run.sparsity_target.filter(|&target| !is_at(run, target)) {
        object(format!("sparsity {:.6} is not the target {target}", run.sparsity));
    }
    found
}

/// Whether the sparsity of a run agrees with its target.
fn is_at(run: &RunLine, target: f64) -> bool {
    let off = (run.sparsity - target) * run.n_prunable as f64;
    // A network of another width is dense; it only shares the parameter count of the pruned networks in its cell.
    let is_narrowed = run.model.contains('@') && run.n_kept == run.n_prunable;
    if is_narrowed || run.quantile.as_deref() == Some("interpolated") {
        return true;
    }
    // With the exact quantile, the kept count is the rounded target, so it is off by less than one weight. Blocks and
    // filters are kept only if they fit completely, and a regrown weight is 0 until it gets a gradient.
    let has_groups = run.structure.as_deref().is_some_and(|name| name != "single");
    let can_be_fewer = has_groups || run.renewal.as_deref() == Some("swap");
    let most = if can_be_fewer { f64::INFINITY } else { 1.0 + 1e-6 };
    (-1.0 - 1e-6..=most).contains(&off)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn verdict(results: &Results, row: &str, target: Option<f64>) -> Verdict {
        let cells = cells(results);
        let found = cells.iter().find(|c| c.row.name == row && same_sparsity(c.target, target));
        found.expect("the cell").verdict.clone()
    }

    #[test]
    fn a_cell_passes_fails_or_has_no_band() {
        let mut results = testing::results();
        assert_eq!(verdict(&results, "feather", Some(0.9)), Verdict::Pass);
        assert_eq!(verdict(&results, "dense", None), Verdict::NoBand);
        assert!(passed(&results));
        results.manifest.bands[0].accuracy_min = 0.999;
        let failed = verdict(&results, "feather", Some(0.9));
        assert!(failed.reasons()[0].contains("is below 0.9990"), "{failed:?}");
        assert!(!passed(&results));
    }

    #[test]
    fn a_cell_is_not_compared_with_its_band_before_all_seeds_are_finished() {
        let mut results = testing::results();
        results.runs.retain(|run| run.row != "feather" || run.seed > 0);
        assert_eq!(verdict(&results, "feather", Some(0.9)), Verdict::Incomplete);
        results.manifest.bands[0].accuracy_min = 0.999;
        assert_eq!(verdict(&results, "feather", Some(0.9)), Verdict::Incomplete);
        assert!(passed(&results));
        results.runs.iter_mut().for_each(|run| run.test_accuracy = f64::NAN);
        assert!(
            !verdict(&results, "feather", Some(0.9)).reasons().is_empty(),
            "checks of runs hold"
        );
    }

    #[test]
    fn a_cell_without_runs_is_not_run_and_does_not_fail() {
        let mut results = testing::results();
        results.runs.retain(|run| run.row != "feather");
        assert_eq!(verdict(&results, "feather", Some(0.9)), Verdict::NotRun);
        assert!(passed(&results));
    }

    #[test]
    fn tables_show_what_was_run_or_all_while_nothing_was() {
        let mut results = testing::results();
        let n = shown(&results).len();
        assert_eq!(n, cells(&results).len());
        results.runs.retain(|run| run.row != "feather");
        assert!(shown(&results).iter().all(|cell| cell.row.name != "feather"));
        results.runs.clear();
        assert_eq!(shown(&results).len(), n);
    }

    #[test]
    fn one_weight_off_is_rounding_and_two_are_not() {
        let mut results = testing::results();
        let run = results.runs.iter_mut().find(|r| r.sparsity_target == Some(0.9)).expect("a run");
        let (row, n) = (run.row.clone(), run.n_prunable);
        let mut keep = |n_kept: u64| {
            let run =
                results.runs.iter_mut().find(|r| r.sparsity_target == Some(0.9)).expect("a run");
            run.n_kept = n_kept;
            run.sparsity = 1.0 - n_kept as f64 / n as f64;
            verdict(&results, &row, Some(0.9)).reasons().len()
        };
        assert_eq!(keep(n / 10), 0);
        assert_eq!([n / 10 - 1, n / 10 + 1].map(&mut keep), [0; 2]);
        assert_eq!([n / 10 - 2, n / 10 + 2].map(keep), [1; 2]);
    }

    #[test]
    fn a_loss_that_is_not_finite_fails() {
        let mut results = testing::results();
        results.runs.iter_mut().filter(|run| run.row == "feather").for_each(|run| {
            run.train_loss = f64::NAN;
        });
        assert!(matches!(verdict(&results, "feather", Some(0.9)), Verdict::Fail(_)));
    }

    #[test]
    fn an_interpolated_quantile_is_not_held_to_the_count() {
        let mut results = testing::results();
        for run in results.runs.iter_mut().filter(|r| r.row == "feather") {
            run.quantile = Some("interpolated".into());
            run.n_kept += 5;
            run.sparsity = 1.0 - run.n_kept as f64 / run.n_prunable as f64;
        }
        assert_eq!(verdict(&results, "feather", Some(0.9)), Verdict::Pass);
    }

    #[test]
    fn a_narrower_network_is_not_held_to_the_sparsity_of_its_cell() {
        let mut results = testing::results();
        let mut narrowed = |model: &str, n_kept: u64| {
            for run in results.runs.iter_mut().filter(|r| r.row == "feather") {
                (run.model, run.n_prunable, run.n_kept) = (model.into(), 100, n_kept);
                run.sparsity = 1.0 - n_kept as f64 / 100.0;
            }
            verdict(&results, "feather", Some(0.9))
        };
        assert_eq!(narrowed("resnet20@0.3", 100), Verdict::Pass);
        assert!(!narrowed("resnet20@0.3", 90).reasons().is_empty(), "it is not dense");
        assert!(!narrowed("resnet20", 100).reasons().is_empty(), "it is not narrower");
    }

    #[test]
    fn filters_and_swaps_keep_at_most_the_target_and_patterns_have_no_target() {
        let mut results = testing::results();
        let mut keep = |n_kept: u64, structure: Option<&str>, renewal: Option<&str>| {
            for run in results.runs.iter_mut() {
                (run.n_prunable, run.n_kept, run.sparsity) =
                    (1000, n_kept, 1.0 - n_kept as f64 / 1000.0);
                run.structure = structure.map(Into::into);
                run.renewal = renewal.map(Into::into);
            }
            let failed = |row, target| !verdict(&results, row, target).reasons().is_empty();
            [failed("feather", Some(0.9)), failed("dense", None)]
        };
        assert_eq!(keep(100, Some("filter"), None), [false, false]);
        assert_eq!(keep(80, Some("filter"), None), [false, false]);
        assert_eq!(keep(102, Some("filter"), None), [true, false]);
        assert_eq!(keep(80, None, Some("swap")), [false, false]);
        assert_eq!(keep(80, None, Some("hold")), [true, false]);
        assert_eq!(keep(80, None, None), [true, false]);
        assert_eq!(keep(80, Some("single"), None), [true, false]);
    }

    #[test]
    fn a_sparsity_that_is_not_the_counted_one_is_found() {
        let mut results = testing::results();
        results.runs[0].sparsity = 0.5;
        let failed = verdict(&results, "dense", None);
        assert!(failed.reasons().iter().any(|r| r.contains("disagrees")), "{failed:?}");
    }

    #[test]
    fn a_failed_run_fails_its_cell() {
        let mut results = testing::results();
        results.manifest.failed.push(testing::failed_run());
        assert_eq!(verdict(&results, "feather", Some(0.95)).reasons(), ["1 run failed"]);
        assert!(!passed(&results));
    }
}
