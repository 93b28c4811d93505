//! Which rows a figure compares, and their styles.

use taper_report::chart::Style;

use crate::bands::same_sparsity;
use crate::cells::Cell;
use crate::results::Results;
use crate::suite::SuiteRow;

/// Maximum number of distinguishable lines in one chart; more rows get dots, or a panel each.
const MAX_LINES: usize = 6;

/// Whether results have more pruned rows than distinguishable lines in one chart.
pub(super) fn has_many_rows(results: &Results) -> bool {
    let has_runs = |row: &&SuiteRow| results.runs.iter().any(|run| run.row == row.name);
    let pruned = results.manifest.rows.iter().filter(|row| !row.sparsities.is_empty());
    pruned.filter(has_runs).count() > MAX_LINES
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

/// The highest sparsity of the suite, at which methods differ most.
pub(super) fn highest(results: &Results) -> Option<f64> {
    results
        .manifest
        .rows
        .iter()
        .flat_map(|row| row.sparsities.iter().copied())
        .max_by(f64::total_cmp)
}

/// Whether a cell is compared at a sparsity: cells with it, and cells without any.
pub(super) fn compared(cell: &Cell, sparsity: Option<f64>) -> bool {
    cell.target.is_none() || same_sparsity(cell.target, sparsity)
}
