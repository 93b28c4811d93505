//! Time of a training step against sparsity.

use anyhow::Result;
use taper_report::chart::{self, Dot, DotPlot, Style, draw};
use taper_report::format;
use taper_report::stats::Summary;

use super::{Figure, against_sparsity::Quantity, has_many_rows};
use crate::cells::{Cell, cells};
use crate::results::Results;
use crate::sparsity::same_sparsity;

/// Draws the figure; `None` if no sparse run has recorded its speed.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    match has_many_rows(results) {
        true => by_row(results),
        false => lines(results),
    }
}

/// The style of all dots.
const STYLE: Style = Style { colour: chart::SERIES[2], marker: Some(0) };

fn milliseconds(v: &f64) -> String {
    format!("{} ms", format::rounded(*v))
}

/// A dot for each row, the fastest first, with a group for each sparsity.
fn by_row(results: &Results) -> Result<Option<Figure>> {
    let cells = cells(results);
    let mut timed: Vec<(&Cell, Summary)> = cells
        .iter()
        .filter(|cell| cell.target.is_some())
        .filter_map(|cell| Some((cell, cell.summary(|run| run.step_seconds)?)))
        .filter(|(_, seconds)| seconds.mean.is_finite())
        .collect();
    if timed.is_empty() {
        return Ok(None);
    }
    timed.sort_by(|(a, a_seconds), (b, b_seconds)| {
        let by_target = a.target.unwrap_or(0.0).total_cmp(&b.target.unwrap_or(0.0));
        by_target.then(a_seconds.mean.total_cmp(&b_seconds.mean))
    });
    let dot = |(cell, seconds): &(&Cell, Summary)| {
        let (mean, deviation) = (1000.0 * seconds.mean, seconds.deviation.map(|d| 1000.0 * d));
        Dot {
            name: cell.row.label.clone(),
            value: mean,
            interval: deviation.map(|d| [(mean - d).max(0.0), mean + d]),
            text: match deviation {
                Some(d) => format!("{mean:.0} ± {d:.0} ms"),
                None => format!("{mean:.0} ms"),
            },
            style: STYLE,
        }
    };
    let dense = cells.iter().filter(|cell| cell.target.is_none()).find_map(|cell| {
        let seconds = cell.summary(|run| run.step_seconds)?.mean;
        seconds.is_finite().then_some((&cell.row.label, 1000.0 * seconds))
    });
    let compared = dense.map(|(label, mean)| format!("; dashed: {label}, {mean:.0} ms"));
    let group = |rows: &[(&Cell, Summary)]| {
        let sparsity = rows.iter().find_map(|(cell, _)| cell.target).map(format::percent_short);
        let (sparsity, compared) =
            (sparsity.unwrap_or_default(), compared.clone().unwrap_or_default());
        DotPlot {
            title: format!("{sparsity} sparsity{compared}"),
            axis: "Time of a step".to_owned(),
            reference: dense.map(|(_, mean)| mean),
            rows: rows.iter().map(dot).collect(),
        }
    };
    let groups: Vec<DotPlot> =
        timed.chunk_by(|(a, _), (b, _)| same_sparsity(a.target, b.target)).map(group).collect();
    let (wide, narrow) = draw(
        |screen| DotPlot::height(&groups, screen),
        |screen, area| DotPlot::paint(&groups, &milliseconds, screen, area),
    )?;
    let told: Vec<String> = timed
        .iter()
        .map(|(cell, s)| format!("{}: {:.0} ms", cell.name(), 1000.0 * s.mean))
        .collect();
    Ok(Some(Figure {
        id: "speed",
        title: "Speed by sparsity".to_owned(),
        alt: format!("Chart of the mean time of a training step. {}.", told.join("; ")),
        caption: "Time of a training step in the last epoch, mean over the seeds, the fastest row first; bars show one \
                  standard deviation, and an arrow marks a bar that is wider than the axis. Runs on a shared machine \
                  are slower."
            .to_owned(),
        legend: Vec::new(),
        wide,
        narrow,
    }))
}

/// A line for each row.
fn lines(results: &Results) -> Result<Option<Figure>> {
    Quantity {
        id: "speed",
        title: "Speed against sparsity",
        name: "the mean time of a training step",
        caption: "Time of a training step in the last epoch, mean over the seeds; bars show one standard deviation. Runs \
                  on a shared machine are slower.",
        axis: "Time of a step",
        of: &|run| run.step_seconds,
        unit: 1000.0,
        label: &milliseconds,
        told: &|summary| milliseconds(&(1000.0 * summary.mean)),
        from: Some(0.0),
    }
    .figure(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn many_rows_are_dots_the_fastest_first() {
        let sparse = |i| testing::row(&format!("row-{i}"), &format!("SuiteRow {i}"), &[0.9]);
        let rows: Vec<_> = std::iter::once(testing::row("dense", "Dense", &[]))
            .chain((0..7).map(sparse))
            .collect();
        let mut results = testing::results_of(&rows, &["conv1"]);
        for run in results.runs.iter_mut().filter(|run| run.row == "row-5") {
            run.step_seconds = Some(0.05 + 0.01 * run.seed as f64);
        }
        let drawn = figure(&results).expect("draws").expect("a figure");
        assert!(
            drawn.alt.contains("step. SuiteRow 5 at 90 %: 60 ms; SuiteRow 0 at 90 %: 100 ms;"),
            "{}",
            drawn.alt
        );
        assert!(
            drawn.wide.contains("60 ± 10 ms")
                && drawn.wide.contains("90 % sparsity; dashed: Dense, 100 ms")
                && !drawn.wide.contains("Sparsity target")
        );
        results.runs.retain(|run| run.row != "row-0");
        let drawn = figure(&results).expect("draws").expect("a figure");
        assert!(drawn.wide.contains("Sparsity target"), "six rows are lines");
    }

    #[test]
    fn each_cell_has_its_time_and_without_times_there_is_no_figure() {
        let mut results = testing::results();
        let one = results.runs.iter_mut().find(|run| run.row == "feather").expect("a run");
        one.step_seconds = Some(0.4);
        let drawn = figure(&results).expect("draws").expect("a figure");
        assert!(drawn.alt.contains("Feather at 90 %: 200 ms"), "{}", drawn.alt);
        assert!(drawn.alt.contains("GMP <&> at 95 %: 100 ms"), "{}", drawn.alt);
        results.runs.iter_mut().for_each(|run| run.step_seconds = None);
        assert!(figure(&results).expect("draws").is_none());
    }
}
