//! Mask churn: the fraction of kept weights that enter at a mask update, over the steps.

use anyhow::Result;
use taper_report::chart::{self, Area, Axis, Screen, axes, draw, line, marker};
use taper_report::format;

use super::{Figure, baseline, has_many_rows, highest, panels, style_of};
use crate::results::Results;
use crate::suite::SuiteRow;

/// Percentage of the kept weights that have entered, by step.
type Trace = Vec<(f64, f64)>;

/// Draws the figure; `None` if no run at the highest sparsity has recorded its mask updates.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let Some(sparsity) = highest(results) else { return Ok(None) };
    let traces: Vec<(&SuiteRow, Trace)> = results
        .manifest
        .rows
        .iter()
        .map(|row| (row, trace(results, row, sparsity)))
        .filter(|(_, trace)| !trace.is_empty())
        .collect();
    if traces.is_empty() {
        return Ok(None);
    }
    let rows = &results.manifest.rows;
    let by_row = has_many_rows(results);
    let baseline = baseline(results, Some(sparsity));
    let (wide, narrow) = match by_row {
        true => panels::lines(&traces, baseline.as_deref(), &|| axes_of(&traces, 3))?,
        false => draw(Screen::height, |_, area| paint(rows, &traces, area))?,
    };
    let label = |name: &String| rows.iter().find(|row| row.name == *name).map(|row| &row.label[..]);
    let at = format::percent_short(sparsity);
    let peaks: Vec<String> = traces
        .iter()
        .map(|(row, trace)| {
            let peak = trace.iter().map(|(_, share)| *share).fold(0.0, f64::max);
            let last = trace.last().map_or(0.0, |(_, share)| *share);
            format!("{}: {peak:.2} % at its highest point, {last:.2} % at its last", row.label)
        })
        .collect();
    Ok(Some(Figure {
        id: "stability",
        title: format!("Mask stability at {at}"),
        alt: format!(
            "Chart of mask churn by step: the percentage of the kept weights that have entered at a mask update, mean between two points. \
             {}.",
            peaks.join("; ")
        ),
        caption: "Percentage of the kept weights that the mask before the update did not keep; 0 for masks that only \
                  shrink. Mean over the mask updates between two points, so single updates may be higher; first seed only."
            .to_owned(),
        legend: match by_row {
            true => panels::legend(baseline.as_ref().and_then(label)),
            false => traces.iter().map(|(row, _)| style_of(row, rows).key(&row.label)).collect(),
        },
        wide,
        narrow,
    }))
}

fn trace(results: &Results, row: &SuiteRow, sparsity: f64) -> Trace {
    let of_cell = results.steps_of(&row.name, Some(sparsity));
    of_cell.iter().filter_map(|step| Some((step.step as f64, 100.0 * step.entered?))).collect()
}

/// Axes that cover all traces, with about `n_ticks` labels each.
fn axes_of(traces: &[(&SuiteRow, Trace)], n_ticks: usize) -> (Axis<'static>, Axis<'static>) {
    let all = || traces.iter().flat_map(|(_, trace)| trace);
    let last = all().map(|point| point.0).fold(1.0, f64::max);
    let highest = all().map(|point| point.1).fold(0.0, f64::max);
    let mut x = Axis::covering(0.0, last, n_ticks, "Step", &|v| format::scaled(*v));
    x.ticks.retain(|tick| *tick <= last);
    x.to = last;
    let percent = &|v: &f64| format!("{} %", format::rounded(*v));
    (x, Axis::covering(0.0, highest, n_ticks, "Entered", percent))
}

fn paint(rows: &[SuiteRow], traces: &[(&SuiteRow, Trace)], area: &Area) -> chart::Result<()> {
    let (x, y) = axes_of(traces, 5);
    let mut chart = axes(area, x, y)?;
    for (row, trace) in traces {
        let style = style_of(row, rows);
        line(&mut chart, trace, style.line(1.5))?;
        // A few markers, because there are more rows than colours.
        for at in trace.iter().skip(trace.len() / 8).step_by((trace.len() / 4).max(1)) {
            marker(&mut chart, *at, style)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_row_that_has_recorded_its_masks_has_a_line() {
        let mut results = testing::results();
        let drawn = figure(&results).expect("draws").expect("a figure");
        assert!(
            drawn.alt.contains("Feather: 4.00 % at its highest point, 1.00 % at its last"),
            "{}",
            drawn.alt
        );
        assert_eq!(drawn.legend.len(), 2, "none for the dense row");
        results.steps.iter_mut().filter(|s| s.row == "gmp").for_each(|s| s.entered = None);
        assert_eq!(figure(&results).expect("draws").expect("a figure").legend.len(), 1);
        results.steps.iter_mut().for_each(|s| s.entered = None);
        assert!(figure(&results).expect("draws").is_none());
    }
}
