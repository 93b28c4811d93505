//! A number of each cell against its sparsity.

use anyhow::Result;
use plotters::prelude::*;
use taper_report::chart::{self, Area, Axis, Screen, axes, bar, dashes, draw, line, marker};
use taper_report::format;
use taper_report::stats::Summary;

use super::{Figure, lines, style_of};
use crate::cells::{Cell, cells};
use crate::results::{Results, RunLine};
use crate::suite::SuiteRow;

/// The position of a sparsity: halving the kept weights is one unit, which gives 90 % to 98 % enough room.
fn place(sparsity: f64) -> f64 {
    -(1.0 - sparsity).log2()
}

/// The number to draw, with its texts.
pub(super) struct Quantity<'f> {
    /// The `id` of the figure.
    pub(super) id: &'static str,
    /// Its heading.
    pub(super) title: &'static str,
    /// Name of the number in the alternative text.
    pub(super) name: &'static str,
    pub(super) caption: &'static str,
    /// Title of the axis.
    pub(super) axis: &'static str,
    /// The number of a run; `None` if it was not recorded.
    pub(super) of: &'f dyn Fn(&RunLine) -> Option<f64>,
    /// Formats the number of a cell for the alternative text.
    pub(super) told: &'f dyn Fn(&Summary) -> String,
    /// Factor of all numbers.
    pub(super) unit: f64,
    /// Formats a label of the axis.
    pub(super) label: &'f dyn Fn(&f64) -> String,
    /// Begin of the axis, if it is not near the smallest number.
    pub(super) from: Option<f64>,
}

impl Quantity<'_> {
    /// Draws the figure; `None` if no sparse cell has the number, or there are too many lines.
    pub(super) fn figure(&self, results: &Results) -> Result<Option<Figure>> {
        let rows = lines(results);
        let cells = cells(results);
        let points: Vec<(&Cell, Summary)> = cells
            .iter()
            .filter(|cell| rows.iter().any(|row| row.name == cell.row.name))
            .filter_map(|cell| Some((cell, cell.summary(self.of)?)))
            .filter(|(_, summary)| summary.mean.is_finite())
            .collect();
        if points.iter().all(|(cell, _)| cell.target.is_none()) {
            return Ok(None);
        }
        let (wide, narrow) =
            draw(Screen::height, |screen, area| paint(&rows, &points, self, screen, area))?;
        let is_shown = |row: &&SuiteRow| points.iter().any(|(cell, _)| cell.row.name == row.name);
        let told: Vec<String> =
            points.iter().map(|(cell, s)| format!("{}: {}", cell.name(), (self.told)(s))).collect();
        Ok(Some(Figure {
            id: self.id,
            title: self.title.to_owned(),
            alt: format!("Chart of {} against sparsity. {}.", self.name, told.join("; ")),
            caption: self.caption.to_owned(),
            legend: rows
                .iter()
                .filter(is_shown)
                .map(|row| style_of(row, &rows).key(&row.label))
                .collect(),
            wide,
            narrow,
        }))
    }
}

/// Draws a line for each row, the mean of each cell with its standard deviation, and bands for rows without a sparsity.
fn paint(
    rows: &[SuiteRow],
    points: &[(&Cell, Summary)],
    quantity: &Quantity,
    screen: Screen,
    area: &Area,
) -> chart::Result<()> {
    let bounds = |s: &Summary| {
        let d = s.deviation.unwrap_or(0.0);
        [quantity.unit * (s.mean - d), quantity.unit * (s.mean + d)]
    };
    let all = || points.iter().flat_map(|(_, s)| bounds(s));
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let mut targets: Vec<f64> = points.iter().filter_map(|(cell, _)| cell.target).collect();
    targets.sort_by(f64::total_cmp);
    targets.dedup();
    let ticks: Vec<f64> = targets.iter().copied().map(place).collect();
    let (from, to) = (ticks[0] - 0.3, ticks[ticks.len() - 1] + 0.3);
    let ticks_apart = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let of_place = |v: &f64| format::percent_short(1.0 - (-v).exp2());
    let x = Axis { from, to, ticks, title: "Sparsity target".to_owned(), label: &of_place };
    let y = Axis::covering(quantity.from.unwrap_or(low), high, 5, quantity.axis, quantity.label);
    let mut chart = axes(area, x, y)?;

    for (cell, summary) in points.iter().filter(|(cell, _)| cell.target.is_none()) {
        let style = style_of(cell.row, rows);
        let [low, high] = bounds(summary);
        chart.draw_series([Rectangle::new(
            [(from, low), (to, high)],
            style.colour.mix(0.15).filled(),
        )])?;
        let mean = quantity.unit * summary.mean;
        dashes(&mut chart, &[(from, mean), (to, mean)], style.line(2.0))?;
    }
    let is_shown = |row: &&SuiteRow| {
        points.iter().any(|(cell, _)| cell.row.name == row.name && cell.target.is_some())
    };
    let shown: Vec<&SuiteRow> = rows.iter().filter(is_shown).collect();
    // Points are side by side: the bars of equally good methods would hide each other. Each point stays nearer to its
    // own sparsity than to the next.
    let gap = ticks_apart.min(to - from);
    let apart = if screen == Screen::Wide { 0.012 } else { 0.025 } * (to - from);
    let apart = apart.min(0.5 * gap / shown.len().max(1) as f64);
    for (i, row) in shown.iter().enumerate() {
        let style = style_of(row, rows);
        let shift = (i as f64 - (shown.len() - 1) as f64 / 2.0) * apart;
        let of_row: Vec<(f64, &Summary)> = points
            .iter()
            .filter(|(cell, _)| cell.row.name == row.name)
            .filter_map(|(cell, summary)| Some((place(cell.target?) + shift, summary)))
            .collect();
        let means: Vec<(f64, f64)> =
            of_row.iter().map(|(x, s)| (*x, quantity.unit * s.mean)).collect();
        line(&mut chart, &means, style.line(2.0))?;
        for (x, summary) in of_row {
            bar(&mut chart, x, bounds(summary), style)?;
            marker(&mut chart, (x, quantity.unit * summary.mean), style)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_the_kept_weights_is_one_unit() {
        assert!((place(0.75) - place(0.5) - 1.0).abs() < 1e-12);
        assert!((place(0.95) - place(0.9) - 1.0).abs() < 1e-12);
        assert_eq!(place(0.0), 0.0);
    }
}
