//! Time of a training step against sparsity.

use anyhow::Result;
use taper_report::chart::{Screen, draw};
use taper_report::format;
use taper_report::stats::Summary;

use super::{
    Figure,
    against_sparsity::{Quantity, paint},
    style_of,
};
use crate::cells::{Cell, cells};
use crate::results::Results;

/// Draws the figure; `None` when no sparse run has recorded its speed.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let cells = cells(results);
    let points: Vec<(&Cell, Summary)> = cells
        .iter()
        .filter_map(|cell| Some((cell, cell.summary(|run| run.step_seconds)?)))
        .collect();
    if points.iter().all(|(cell, _)| cell.target.is_none()) {
        return Ok(None);
    }
    let rows = &results.manifest.rows;
    let milliseconds = |v: &f64| format!("{} ms", format::rounded(*v));
    let step =
        Quantity { title: "Time of a step", unit: 1000.0, label: &milliseconds, from: Some(0.0) };
    let (wide, narrow) =
        draw(Screen::height, |screen, area| paint(rows, &points, &step, screen, area))?;
    let shown = rows.iter().filter(|row| points.iter().any(|(cell, _)| cell.row.name == row.name));
    let alt: Vec<String> = points
        .iter()
        .map(|(cell, s)| format!("{}: {}", cell.name(), milliseconds(&(1000.0 * s.mean))))
        .collect();
    Ok(Some(Figure {
        id: "speed",
        title: "Speed against sparsity".to_owned(),
        alt: format!("Chart of the mean time of a training step against sparsity. {}.", alt.join("; ")),
        caption: "Time of a training step in the last epoch, mean over the seeds; bars show one sample deviation. Runs \
                  that shared the machine with others are slower for that."
            .to_owned(),
        legend: shown.map(|row| style_of(row, rows).key(&row.label)).collect(),
        wide,
        narrow,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

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
