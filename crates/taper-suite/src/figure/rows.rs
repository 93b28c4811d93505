//! Which rows a figure compares, and their styles.

use taper_report::chart::Style;

use crate::cells::{Cell, cells};
use crate::results::Results;
use crate::sparsity::same_sparsity;
use crate::suite::SuiteRow;

/// Maximum number of distinguishable lines in one chart; more rows get dots, or a panel each.
const MAX_LINES: usize = 6;

/// Whether results have more pruned rows than distinguishable lines in one chart.
pub(super) fn has_many_rows(results: &Results) -> bool {
    let has_runs = |row: &&SuiteRow| results.runs.iter().any(|run| run.row == row.name);
    let pruned = results.manifest.rows.iter().filter(|row| !row.sparsities.is_empty());
    pruned.filter(has_runs).count() > MAX_LINES
}

/// The rows that fit into one chart as lines: all of them, or, if they are too many, those with runs at several
/// sparsities and those without a sparsity. Empty if there are still too many, or no line.
pub(super) fn lines(results: &Results) -> Vec<SuiteRow> {
    let mut rows = results.manifest.rows.clone();
    if !has_many_rows(results) {
        return rows;
    }
    let cells = cells(results);
    let n_targets = |row: &SuiteRow| {
        let has_runs = |cell: &&Cell| cell.row.name == row.name && !cell.runs.is_empty();
        cells.iter().filter(has_runs).count()
    };
    rows.retain(|row| row.sparsities.is_empty() || n_targets(row) > 1);
    let n_lines = rows.iter().filter(|row| !row.sparsities.is_empty()).count();
    if (1..=MAX_LINES).contains(&n_lines) { rows } else { Vec::new() }
}

/// The style of a row, the same in all figures. A row without sparsity is grey and dashed; only the other rows are
/// counted.
pub(super) fn style_of(row: &SuiteRow, rows: &[SuiteRow]) -> Style {
    if row.sparsities.is_empty() {
        return Style::BASELINE;
    }
    let sparse = rows.iter().filter(|r| !r.sparsities.is_empty());
    Style::series(sparse.take_while(|r| r.name != row.name).count())
}

/// Name of the baseline at a sparsity, if there is one.
pub(super) fn baseline(results: &Results, sparsity: Option<f64>) -> Option<String> {
    let ranked = crate::gain::ranked(results);
    let is_baseline = |compared: &&crate::gain::Compared| {
        compared.gain == crate::gain::Gain::Baseline
            && same_sparsity(compared.cell.target, sparsity)
    };
    ranked.iter().find(is_baseline).map(|compared| compared.cell.row.name.clone())
}

/// The highest sparsity with finished runs, at which methods differ most.
pub(super) fn highest(results: &Results) -> Option<f64> {
    results.runs.iter().filter_map(|run| run.sparsity_target).max_by(f64::total_cmp)
}

/// Whether a cell is compared at a sparsity: cells with it, and cells without any.
pub(super) fn compared(cell: &Cell, sparsity: Option<f64>) -> bool {
    cell.target.is_none() || same_sparsity(cell.target, sparsity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::RunLine, testing};

    #[test]
    fn of_many_rows_only_those_at_several_sparsities_are_lines() {
        let mut results = testing::results();
        let names =
            |results: &Results| lines(results).into_iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(&results), ["dense", "gmp", "feather"], "there are few");

        // Further rows at one sparsity.
        let gmp = results.manifest.rows.iter().find(|row| row.name == "gmp").expect("gmp").clone();
        let run = results.runs.iter().find(|run| run.row == "gmp").expect("a run").clone();
        let add = |results: &mut Results, name: String, targets: &[f64]| {
            results.manifest.rows.push(SuiteRow { name: name.clone(), ..gmp.clone() });
            results.runs.extend(targets.iter().map(|target| RunLine {
                row: name.clone(),
                sparsity_target: Some(*target),
                ..run.clone()
            }));
        };
        for i in 0..MAX_LINES {
            add(&mut results, format!("single-{i}"), &gmp.sparsities[..1]);
        }
        assert!(has_many_rows(&results));
        assert_eq!(names(&results), ["dense", "gmp", "feather"]);
        for i in 0..MAX_LINES {
            add(&mut results, format!("several-{i}"), &gmp.sparsities);
        }
        assert!(names(&results).is_empty(), "too many lines");

        results.runs.retain(|run| run.sparsity_target == Some(gmp.sparsities[0]));
        assert!(names(&results).is_empty(), "points, but no line");
    }
}
