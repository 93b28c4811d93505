//! Test accuracy against sparsity.

use anyhow::Result;
use taper_report::chart::{Screen, draw};

use super::{
    Figure,
    against_sparsity::{Quantity, paint},
    style_of,
};
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
    let percent = |v: &f64| format!("{} %", format::rounded(*v));
    let accuracy = Quantity { title: "Test accuracy", unit: 100.0, label: &percent, from: None };
    let (wide, narrow) =
        draw(Screen::height, |screen, area| paint(rows, &points, &accuracy, screen, area))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

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
