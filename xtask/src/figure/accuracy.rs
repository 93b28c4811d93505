//! Test accuracy against sparsity.

use anyhow::Result;
use plotters::prelude::*;
use taper_report::chart::{self, Area, Axis, Screen, axes, bar, dashes, draw, line, marker};

use super::{Figure, style_of};
use crate::cells::{Cell, cells};
use crate::results::Results;
use taper_report::format;
use taper_report::stats::Summary;

/// Draws the figure; `None` when no sparse run has finished.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let cells = cells(results);
    let points: Vec<(&Cell, Summary)> = cells
        .iter()
        .filter_map(|cell| Some((cell, cell.accuracy()?)))
        .filter(|(_, s)| s.mean.is_finite())
        .collect();
    if points.iter().all(|(cell, _)| cell.target.is_none()) {
        return Ok(None);
    }
    let rows = &results.manifest.rows;
    let (wide, narrow) =
        draw(Screen::height, |screen, area| paint(results, &points, screen, area))?;
    let shown = rows.iter().filter(|row| points.iter().any(|(cell, _)| cell.row.name == row.name));
    let alt: Vec<String> = points
        .iter()
        .map(|(cell, s)| format!("{}: {}", cell.name(), format::accuracy(s)))
        .collect();
    Ok(Some(Figure {
        id: "accuracy",
        title: "Accuracy against sparsity".to_owned(),
        alt: format!("Chart of mean test accuracy against sparsity. {}.", alt.join("; ")),
        caption: "Test accuracy after the last epoch, mean over the seeds; bars show one sample deviation. Each \
                  halving of the weights kept takes the same width."
            .to_owned(),
        legend: shown.map(|row| style_of(row, rows).key(&row.label)).collect(),
        wide,
        narrow,
    }))
}

/// The place of a sparsity: halving the kept weights is one unit, so 90 % to 98 % is not squeezed into a corner.
fn place(sparsity: f64) -> f64 {
    -(1.0 - sparsity).log2()
}

fn paint(
    results: &Results,
    points: &[(&Cell, Summary)],
    screen: Screen,
    area: &Area,
) -> chart::Result<()> {
    let bounds = |s: &Summary| {
        let d = s.deviation.unwrap_or(0.0);
        [100.0 * (s.mean - d), 100.0 * (s.mean + d)]
    };
    let all = || points.iter().flat_map(|(_, s)| bounds(s));
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let mut targets: Vec<f64> = points.iter().filter_map(|(cell, _)| cell.target).collect();
    targets.sort_by(f64::total_cmp);
    targets.dedup();
    let ticks: Vec<f64> = targets.iter().copied().map(place).collect();
    let (from, to) = (ticks[0] - 0.3, ticks[ticks.len() - 1] + 0.3);
    let percent = |v: &f64| format!("{} %", format::rounded(*v));
    let of_place = |v: &f64| format::percent_short(1.0 - (-v).exp2());
    let x = Axis { from, to, ticks, title: "Sparsity target".to_owned(), label: &of_place };
    let y = Axis::covering(low, high, 5, "Test accuracy", &percent);
    let mut chart = axes(area, x, y)?;

    for (cell, summary) in points.iter().filter(|(cell, _)| cell.target.is_none()) {
        let style = style_of(cell.row, &results.manifest.rows);
        let [low, high] = bounds(summary);
        chart.draw_series([Rectangle::new(
            [(from, low), (to, high)],
            style.colour.mix(0.15).filled(),
        )])?;
        let mean = 100.0 * summary.mean;
        dashes(&mut chart, &[(from, mean), (to, mean)], style.line(2.0))?;
    }
    let rows: Vec<_> =
        results.manifest.rows.iter().filter(|row| !row.sparsities.is_empty()).collect();
    for (i, row) in rows.iter().enumerate() {
        let style = style_of(row, &results.manifest.rows);
        // Side by side, or the bars of methods that are equally good would hide each other.
        let apart = if screen == Screen::Wide { 0.012 } else { 0.025 } * (to - from);
        let shift = (i as f64 - (rows.len() - 1) as f64 / 2.0) * apart;
        let of_row: Vec<(f64, &Summary)> = points
            .iter()
            .filter(|(cell, _)| cell.row.name == row.name)
            .filter_map(|(cell, summary)| Some((place(cell.target?) + shift, summary)))
            .collect();
        let means: Vec<(f64, f64)> = of_row.iter().map(|(x, s)| (*x, 100.0 * s.mean)).collect();
        line(&mut chart, &means, style.line(2.0))?;
        for (x, summary) in of_row {
            bar(&mut chart, x, bounds(summary), style)?;
            marker(&mut chart, (x, 100.0 * summary.mean), style)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn halving_the_kept_weights_is_one_unit() {
        assert!((place(0.75) - place(0.5) - 1.0).abs() < 1e-12);
        assert!((place(0.95) - place(0.9) - 1.0).abs() < 1e-12);
        assert_eq!(place(0.0), 0.0);
    }

    #[test]
    fn each_cell_is_in_the_alternative_text_and_each_row_in_the_legend() {
        let figure = figure(&testing::results()).expect("draws").expect("a figure");
        for cell in ["Dense: 88.10 ± 0.10 %", "GMP <&> at 95 %: 88.10", "Feather at 90 %: 89.10"] {
            assert!(figure.alt.contains(cell), "{}", figure.alt);
        }
        let legend: Vec<&str> = figure.legend.iter().map(|key| key.mark).collect();
        assert_eq!(legend, ["dash", "circle", "square"]);
        assert!(figure.wide.contains("90 %") && figure.wide.contains("Sparsity target"));
    }
}
