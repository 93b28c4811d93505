//! The figures of the report.

mod accuracy;
mod against_sparsity;
mod curves;
mod gain;
#[cfg(test)]
mod labels;
mod layers;
mod panels;
mod schedule;
mod significance;
mod speed;
mod stability;

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};
use taper_report::chart::{self, Key, Style};

use crate::bands::same_sparsity;
use crate::cells::Cell;
use crate::results::Results;
use crate::suite::Row;

/// A figure with all that the page says about it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The `id` of its element.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What it shows, for those who cannot see it.
    pub(crate) alt: String,
    pub(crate) caption: String,
    #[serde(serialize_with = "keys")]
    pub(crate) legend: Vec<Key>,
    /// SVG for wide screens.
    pub(crate) wide: String,
    /// SVG for narrow screens.
    pub(crate) narrow: String,
}

fn keys<S: Serializer>(legend: &[Key], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry<'a> {
        label: &'a str,
        colour: &'a str,
        symbol: &'a str,
    }
    let entries = legend.iter().map(|key| Entry {
        label: &key.label,
        colour: &key.colour,
        symbol: key.symbol(),
    });
    serializer.collect_seq(entries)
}

impl Figure {
    /// The figure as a file of its own.
    ///
    /// # Errors
    /// If its drawing is none.
    pub(crate) fn file(&self) -> Result<String> {
        let file = chart::file_of_page(&self.wide, &self.legend, &self.alt);
        file.with_context(|| format!("the figure '{}' is no drawing", self.id))
    }
}

/// The `id` of every figure that there can be.
pub(crate) const IDS: [&str; 8] =
    ["gain", "accuracy", "curves", "speed", "schedule", "stability", "layers", "significance"];

/// Rows whose lines are told apart in one chart; more get dots by row, or a panel each.
const MAX_LINES: usize = 6;

/// Whether results have more pruned rows than lines in one chart are told apart.
fn has_many_rows(results: &Results) -> bool {
    let has_runs = |row: &&Row| results.runs.iter().any(|run| run.row == row.name);
    let pruned = results.manifest.rows.iter().filter(|row| !row.sparsities.is_empty());
    pruned.filter(has_runs).count() > MAX_LINES
}

/// All figures for which there is something to show, in the order of the page.
pub(crate) fn all(results: &Results) -> Result<Vec<Figure>> {
    let made = [
        match has_many_rows(results) {
            true => gain::figure(results)?,
            false => accuracy::figure(results)?,
        },
        curves::figure(results)?,
        speed::figure(results)?,
        schedule::figure(results)?,
        stability::figure(results)?,
        layers::figure(results)?,
        significance::figure(results)?,
    ];
    Ok(made.into_iter().flatten().collect())
}

/// The style of a row, the same in all figures; one without sparsity is grey and dashed, the others are counted without
/// it.
fn style_of(row: &Row, rows: &[Row]) -> Style {
    if row.sparsities.is_empty() {
        return Style::BASELINE;
    }
    let sparse = rows.iter().filter(|r| !r.sparsities.is_empty());
    Style::series(sparse.take_while(|r| r.name != row.name).count())
}

/// Name of the row that others are compared with at a sparsity, if there is one.
fn baseline(results: &Results, sparsity: Option<f64>) -> Option<String> {
    let ranked = crate::gain::ranked(results);
    let is_baseline = |compared: &&crate::gain::Compared| {
        compared.gain == crate::gain::Gain::Baseline
            && same_sparsity(compared.cell.target, sparsity)
    };
    ranked.iter().find(is_baseline).map(|compared| compared.cell.row.name.clone())
}

/// The highest sparsity of the suite, at which methods differ most.
fn highest(results: &Results) -> Option<f64> {
    results
        .manifest
        .rows
        .iter()
        .flat_map(|row| row.sparsities.iter().copied())
        .max_by(f64::total_cmp)
}

/// Whether a cell takes part in a comparison at one sparsity: those at it, and those without any.
fn compared(cell: &Cell, sparsity: Option<f64>) -> bool {
    cell.target.is_none() || same_sparsity(cell.target, sparsity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_drawing_takes_the_colours_of_the_page() {
        for figure in all(&testing::results()).expect("draws") {
            for svg in [&figure.wide, &figure.narrow] {
                assert!(svg.starts_with("<svg viewBox="), "{}", figure.id);
                assert!(
                    svg.contains("var(--ink)") && svg.contains("var(--series-"),
                    "{}",
                    figure.id
                );
                assert!(!svg.contains("\"#"), "{} has a colour of its own", figure.id);
                assert!(!svg.contains("http"), "{}", figure.id);
            }
        }
    }

    #[test]
    fn every_figure_is_among_those_there_can_be() {
        for figure in all(&testing::results()).expect("draws") {
            assert!(IDS.contains(&figure.id), "{}", figure.id);
        }
    }

    #[test]
    fn figures_without_data_are_left_out() {
        let mut results = testing::results();
        results.runs.clear();
        results.curves.clear();
        results.steps.clear();
        results.layers.clear();
        results.fates.clear();
        assert!(all(&results).expect("draws nothing").is_empty());
    }
}
