//! Target and achieved sparsity over the steps, with a panel for each method.

use anyhow::Result;
use plotters::prelude::*;
use taper_report::chart::{self, Area, Axis, Key, axes, line, px, variable};

use super::{Figure, has_many_rows, panels, style_of};
use crate::results::{Results, StepLine};
use crate::suite::SuiteRow;
use taper_report::format;

/// Draws the figure; `None` if no sparse run has recorded its steps.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let has_steps = |row: &&SuiteRow| {
        results.steps.iter().any(|step| step.row == row.name && step.cell.is_some())
    };
    let rows: Vec<&SuiteRow> = results.manifest.rows.iter().filter(has_steps).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let named: Vec<(&SuiteRow, ())> = rows.iter().map(|row| (*row, ())).collect();
    let (wide, narrow) = panels::each(&named, |row, _, area| paint(results, row, area))?;
    let drawn = rows.iter().flat_map(|row| {
        row.targets().into_iter().flat_map(|target| results.steps_of(&row.name, target))
    });
    let widest = drawn
        .map(|step| (step.sparsity - step.sparsity_target).abs())
        .filter(|gap| gap.is_finite())
        .fold(0.0, f64::max);
    let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    Ok(Some(Figure {
        id: "schedule",
        title: "Schedule and achieved sparsity".to_owned(),
        alt: format!(
            "Charts of target and achieved sparsity by training step, one for each of {}. The widest gap between the \
             two is {}.",
            labels.join(", "),
            format::percent(widest, 3)
        ),
        caption: format!(
            "Sparsity at each step, target and achieved, of the first seed. The widest gap between the two is {} points.",
            format::percent(widest, 3).trim_end_matches(" %")
        ),
        legend: vec![
            Key { label: "target".to_owned(), colour: variable(chart::MUTED), mark: "band" },
            Key { label: "achieved".to_owned(), colour: variable(chart::INK), mark: "line" },
        ],
        wide,
        narrow,
    }))
}

fn paint(results: &Results, row: &SuiteRow, area: &Area) -> chart::Result<()> {
    let last = results.steps.iter().map(|step| step.step).max().unwrap_or(1).max(1) as f64;
    let percent = |v: &f64| format!("{v:.0} %");
    let steps = |v: &f64| format::scaled(*v);
    let mut x = Axis::covering(0.0, last, 3, "Step", &steps);
    x.ticks.retain(|tick| *tick <= last);
    x.to = last;
    let y = Axis {
        from: 0.0,
        to: 102.0,
        ticks: (0..=4).map(|i| 25.0 * f64::from(i)).collect(),
        title: "Sparsity".to_owned(),
        label: &percent,
    };
    let mut chart = axes(area, x, y)?;
    // Many rows need more colours than there are, and separate panels need only one.
    let style = match has_many_rows(results) {
        true => panels::OWN,
        false => style_of(row, &results.manifest.rows),
    };
    for target in row.targets() {
        let of_cell = results.steps_of(&row.name, target);
        let points = |number: &dyn Fn(&StepLine) -> f64| -> Vec<(f64, f64)> {
            of_cell.iter().map(|step| (step.step as f64, 100.0 * number(step))).collect()
        };
        // The target is a broad band below, which is visible wherever the achieved sparsity differs.
        let band =
            ShapeStyle { color: style.colour.mix(0.3), filled: false, stroke_width: px(5) as u32 };
        line(&mut chart, &points(&|step| step.sparsity_target), band)?;
        line(&mut chart, &points(&|step| step.sparsity), style.line(1.5))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn there_is_a_panel_for_each_sparse_method() {
        let figure = figure(&testing::results()).expect("draws").expect("a figure");
        for svg in [&figure.wide, &figure.narrow] {
            assert_eq!(svg.matches("Sparsity\n</text>").count(), 2);
            assert!(svg.contains("Feather") && svg.contains("GMP &lt;&amp;&gt;"));
            assert!(!svg.contains("Dense"));
        }
    }

    #[test]
    fn the_widest_gap_is_reported() {
        let mut results = testing::results();
        let step = results.steps.iter_mut().find(|s| s.cell == Some(0.95)).expect("a step");
        step.sparsity = step.sparsity_target + 0.01;
        let figure = figure(&results).expect("draws").expect("a figure");
        assert!(figure.caption.contains("is 1.000 points"), "{}", figure.caption);
        results
            .steps
            .iter_mut()
            .filter(|s| s.sparsity != s.sparsity_target)
            .for_each(|s| s.seed = 1);
        let figure = super::figure(&results).expect("draws").expect("a figure");
        assert!(
            figure.caption.contains("is 0.000 points"),
            "of the drawn steps only: {}",
            figure.caption
        );
    }
}
