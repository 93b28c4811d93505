//! The figure of README.md: speed of training against sparsity, drawn from the table of the bench suite `step` there.

use anyhow::{Context, Result, ensure};
use taper_report::chart::{
    self, Axis, Screen, Style, axes, dashes, file, legend_above, line, marker,
};
use taper_report::format;

/// Where the figure is, from the root of the repository.
pub(crate) const PLACE: &str = "docs/src/figures/speed.svg";

/// A row of the table.
struct Row<'t> {
    what: &'t str,
    /// Position on the axis: the place in [`SPARSITIES`].
    x: f64,
    taper: f64,
    /// The fastest of the forms of PyTorch.
    torch: f64,
}

/// Labels of the axis of sparsities.
const SPARSITIES: [&str; 4] = ["0 %", "90 %", "95 %", "98 %"];

/// Draws the figure of a document; `None` if it has no such table.
///
/// # Errors
/// If the table is incomplete, or a number in it is invalid.
pub(crate) fn speed(document: &str) -> Result<Option<String>> {
    let Some((_, table)) = document.split_once("-bench#step -->") else { return Ok(None) };
    let (table, _) = table.split_once("<!-- / -->").context("the table `step` has no end")?;
    let rows: Vec<Row> = table
        .lines()
        .filter(|line| line.starts_with('|') && line.contains('%') && !line.starts_with("| what"))
        .map(|line| row(line).with_context(|| format!("in the row {line}")))
        .collect::<Result<_>>()?;
    ensure!(!rows.is_empty(), "the table `step` has no rows");

    // The dense row begins every line of Taper.
    let taper = |prefix: &str| -> Vec<(f64, f64)> {
        let of = |row: &&Row| row.x == 0.0 || row.what.contains(prefix);
        rows.iter().filter(of).map(|row| (row.x, row.taper)).collect()
    };
    let exact = rows.iter().filter(|row| row.x == 0.0 || row.what.contains("dense gradient"));
    let series = [
        ("Taper, exact gradients", taper("dense gradient")),
        ("Taper, sampled gradients", taper("sampled")),
        ("Taper, live set", taper("live set")),
        ("PyTorch, fastest of three forms (dashed)", exact.map(|row| (row.x, row.torch)).collect()),
    ];
    let highest = rows.iter().map(|row| row.taper.max(row.torch)).fold(0.0, f64::max);
    let told: Vec<String> = series
        .iter()
        .map(|(name, points)| {
            let told = |&(x, y): &(f64, f64)| {
                format!("{} at {}", format::rounded(y), SPARSITIES[x as usize])
            };
            format!("{name}: {}", points.iter().map(told).collect::<Vec<_>>().join(", "))
        })
        .collect();
    let alt = format!(
        "Chart of training speed in images per second against sparsity. {}.",
        told.join("; ")
    );
    let label =
        |x: &f64| SPARSITIES.get(x.round() as usize).map_or_else(String::new, |s| (*s).to_owned());
    let count = |y: &f64| format::rounded(*y);
    let drawn = file(300, &alt, |_: Screen, area| -> chart::Result<()> {
        let styles: Vec<Style> = (0..series.len()).map(Style::series).collect();
        let names: Vec<(&str, Style)> =
            series.iter().zip(&styles).map(|((name, _), style)| (*name, *style)).collect();
        let ticks = (0..SPARSITIES.len()).map(|i| i as f64).collect();
        let title = "Sparsity of ResNet-20".to_owned();
        let x = Axis { from: -0.2, to: SPARSITIES.len() as f64 - 0.8, ticks, title, label: &label };
        let y = Axis::covering(0.0, highest, 5, "Training, images per second", &count);
        let mut chart = axes(&legend_above(area, &names)?, x, y)?;
        for ((name, points), style) in series.iter().zip(&styles) {
            match name.starts_with("PyTorch") {
                true => dashes(&mut chart, points, style.line(2.0))?,
                false => line(&mut chart, points, style.line(2.0))?,
            }
            points.iter().try_for_each(|&point| marker(&mut chart, point, *style))?;
        }
        Ok(())
    })?;
    Ok(Some(drawn))
}

fn row(line: &str) -> Result<Row<'_>> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    ensure!(cells.len() >= 6, "it has {} cells", cells.len());
    let number =
        |cell: &str| cell.parse::<f64>().with_context(|| format!("`{cell}` is not a number"));
    let x = SPARSITIES.iter().position(|sparsity| *sparsity == cells[1]);
    let x = x.with_context(|| format!("the figure has no sparsity {}", cells[1]))? as f64;
    let torch = cells[3..6].iter().map(|cell| number(cell)).collect::<Result<Vec<_>>>()?;
    Ok(Row {
        what: cells[0],
        x,
        taper: number(cells[2])?,
        torch: torch.into_iter().fold(0.0, f64::max),
    })
}

#[cfg(test)]
mod tests {
    use super::speed;

    const TABLE: &str = "<!-- results/x-bench#step -->
| what | sparsity | taper | a | b | c | ratio |
| --- | --- | --- | --- | --- | --- | --- |
| dense | 0 % | 300 | 100 | 150 | 120 | 2 |
| STE, dense gradient each step | 98 % | 600 | 110 | 140 | 160 | 3 |
| live set = kept + 10 % | 98 % | 900 | 100 | 100 | 200 | 4 |
<!-- / -->";

    #[test]
    fn each_line_begins_at_the_dense_network() {
        let svg = speed(TABLE).expect("draws").expect("a figure");
        let told = "Taper, exact gradients: 300 at 0 %, 600 at 98 %; Taper, sampled gradients: 300 at 0 %; \
                    Taper, live set: 300 at 0 %, 900 at 98 %; \
                    PyTorch, fastest of three forms (dashed): 150 at 0 %, 160 at 98 %.";
        assert!(svg.contains(told), "{svg}");
    }

    #[test]
    fn an_incomplete_table_is_an_error() {
        for (from, to) in [("98 %", "97 %"), ("600", "x"), ("<!-- / -->", "")] {
            assert!(speed(&TABLE.replace(from, to)).is_err(), "{to}");
        }
        assert!(speed("no table").expect("draws").is_none());
    }
}
