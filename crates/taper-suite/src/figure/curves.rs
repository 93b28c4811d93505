//! Test accuracy by epoch.

use std::collections::BTreeMap;

use anyhow::Result;
use taper_report::chart::{self, Area, Axis, Screen, axes, dashes, draw, line, marker};

use super::{Figure, baseline, compared, has_many_rows, highest, panels, style_of};
use crate::cells::{Cell, cells};
use crate::results::Results;
use crate::sparsity::same_sparsity;
use crate::suite::SuiteRow;
use taper_report::format;
use taper_report::stats::Summary;

/// Accuracy in percent after each number of epochs.
type Curve = Vec<(f64, f64)>;

/// Draws the figure; `None` if no run has recorded an accuracy.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let sparsity = highest(results);
    let cells = cells(results);
    let curves: Vec<(&Cell, Curve)> = cells
        .iter()
        .filter(|cell| compared(cell, sparsity))
        .map(|cell| (cell, mean_curve(results, cell)))
        .filter(|(_, curve)| !curve.is_empty())
        .collect();
    if curves.is_empty() {
        return Ok(None);
    }
    let rows = &results.manifest.rows;
    let by_row = has_many_rows(results);
    let baseline = baseline(results, sparsity);
    let (wide, narrow) = match by_row {
        true => {
            let rows: Vec<(&SuiteRow, Curve)> =
                curves.iter().map(|(cell, curve)| (cell.row, curve.clone())).collect();
            panels::lines(&rows, baseline.as_deref(), &|| axes_of(&curves, 3))?
        }
        false => draw(Screen::height, |_, area| paint(results, &curves, area))?,
    };
    let label = |name: &String| rows.iter().find(|row| row.name == *name).map(|row| &row.label[..]);
    let ends: Vec<String> = curves
        .iter()
        .filter_map(|(cell, curve)| {
            Some(format!("{} ends at {:.2} %", cell.row.label, curve.last()?.1))
        })
        .collect();
    let at =
        sparsity.map(|s| format!(" at {} sparsity", format::percent_short(s))).unwrap_or_default();
    Ok(Some(Figure {
        id: "curves",
        title: format!("Training curves{at}"),
        alt: format!("Chart of mean test accuracy by epoch{at}. {}.", ends.join("; ")),
        caption: "Test accuracy after each epoch, mean over the seeds, with the weights pruned to the current \
                  sparsity."
            .to_owned(),
        legend: match by_row {
            true => panels::legend(baseline.as_ref().and_then(label)),
            false => {
                curves.iter().map(|(cell, _)| style_of(cell.row, rows).key(&cell.row.label)).collect()
            }
        },
        wide,
        narrow,
    }))
}

/// The mean over the seeds at each epoch that all seeds have evaluated.
fn mean_curve(results: &Results, cell: &Cell) -> Curve {
    let of_seed = |seed: u64| -> BTreeMap<u64, f64> {
        let lines = results.curves.iter();
        let lines = lines.filter(|l| {
            l.seed == seed && l.row == cell.row.name && same_sparsity(l.cell, cell.target)
        });
        lines.filter_map(|l| Some((l.epoch, l.test_accuracy?))).collect()
    };
    let runs: Vec<BTreeMap<u64, f64>> = cell.runs.iter().map(|run| of_seed(run.seed)).collect();
    let Some(first) = runs.first() else { return Vec::new() };
    first
        .keys()
        .filter_map(|epoch| {
            let accuracies: Option<Vec<f64>> =
                runs.iter().map(|run| run.get(epoch).copied()).collect();
            let mean = Summary::of(accuracies?)?.mean;
            mean.is_finite().then_some(((epoch + 1) as f64, 100.0 * mean))
        })
        .collect()
}

/// Axes that cover all curves, with about `n_ticks` labels each.
fn axes_of(curves: &[(&Cell, Curve)], n_ticks: usize) -> (Axis<'static>, Axis<'static>) {
    let all = || curves.iter().flat_map(|(_, curve)| curve);
    let n_epochs = all().map(|p| p.0).fold(1.0, f64::max);
    let (low, high) = all()
        .map(|p| p.1)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)));
    let mut x = Axis::covering(0.0, n_epochs, n_ticks, "Epochs", &|v| format!("{v:.0}"));
    // Fractions of an epoch are not measured, and the axis ends with the training.
    x.ticks.retain(|tick| tick.fract() == 0.0 && *tick <= n_epochs);
    x.to = n_epochs;
    let percent = &|v: &f64| format!("{} %", format::rounded(*v));
    (x, Axis::covering(low, high, n_ticks, "Test accuracy", percent))
}

fn paint(results: &Results, curves: &[(&Cell, Curve)], area: &Area) -> chart::Result<()> {
    let (x, y) = axes_of(curves, 5);
    let mut chart = axes(area, x, y)?;
    for (cell, curve) in curves {
        let style = style_of(cell.row, &results.manifest.rows);
        match cell.target {
            None => dashes(&mut chart, curve, style.line(2.0))?,
            Some(_) => line(&mut chart, curve, style.line(2.0))?,
        }
        if let (Some(last), Some(_)) = (curve.last(), cell.target) {
            marker(&mut chart, *last, style)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_curve_is_the_mean_over_the_seeds() {
        let mut results = testing::results();
        // The mean of the last epoch is neither the median nor a value of one seed.
        let last = results.curves.iter_mut().filter(|line| line.epoch == 3 && line.seed == 2);
        last.for_each(|line| line.test_accuracy = line.test_accuracy.map(|a| a + 0.06));
        let cells = cells(&results);
        let curve = mean_curve(&results, &cells[0]);
        assert_eq!(curve.len(), 4);
        assert!((curve[3].1 - 90.1).abs() < 1e-9, "{curve:?}");
    }

    #[test]
    fn many_rows_have_a_panel_each_with_the_baseline() {
        let rows: Vec<_> = (0..7)
            .map(|i| testing::row(&format!("row-{i}"), &format!("SuiteRow {i}"), &[0.9]))
            .collect();
        let drawn =
            figure(&testing::results_of(&rows, &["conv1"])).expect("draws").expect("a figure");
        assert_eq!(drawn.wide.matches("Epochs\n").count(), 7);
        assert!((0..7).all(|i| drawn.narrow.contains(&format!("SuiteRow {i}\n"))));
        let legend: Vec<_> = drawn.legend.iter().map(|key| (key.mark, &key.label[..])).collect();
        assert_eq!(legend, [("line", "the row above the panel"), ("dash", "SuiteRow 0")]);
    }

    #[test]
    fn epochs_without_an_evaluation_keep_their_place() {
        let mut results = testing::results();
        for line in results.curves.iter_mut().filter(|line| line.epoch % 2 == 0) {
            line.test_accuracy = None;
        }
        let curve = mean_curve(&results, &cells(&results)[0]);
        let epochs: Vec<f64> = curve.iter().map(|point| point.0).collect();
        assert_eq!(epochs, [2.0, 4.0]);
        assert!((curve[1].1 - 88.1).abs() < 1e-9, "{curve:?}");
    }

    #[test]
    fn a_shorter_run_shortens_the_curve() {
        let mut results = testing::results();
        results.curves.retain(|l| !(l.row == "dense" && l.seed == 1 && l.epoch >= 2));
        assert_eq!(mean_curve(&results, &cells(&results)[0]).len(), 2);
    }
}
