//! Kept weights in each layer: a heat map with methods as rows and layers as columns, in several blocks if needed.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use taper_report::chart::{
    self, Area, GRID, INK, MUTED, SERIES, Screen, draw, fitted, font, px, width,
};

use super::{Figure, highest};
use crate::results::Results;
use crate::sparsity::same_sparsity;
use crate::suite::SuiteRow;
use taper_report::format::{self, NOTHING};
use taper_report::stats::Summary;

const LINE_HEIGHT: i32 = 20;
/// Between two blocks, and between names and cells.
const GAP: i32 = 10;
/// Size of all text.
const SIZE: f64 = 11.0;
/// Minimum width of a cell: that of `0.27` with a margin.
const LEAST_CELL: i32 = 30;
const WIDEST_CELL: i32 = 110;
/// The strongest shade on which text is still easy to read.
const MAX_SHADE: f64 = 0.5;

/// Mean kept fractions of the weights of one layer, in the order of the methods.
struct Layer {
    name: String,
    n_weights: u64,
    kept: Vec<Option<f64>>,
}

/// Draws the figure; `None` if there are no layers to show.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let Some(sparsity) = highest(results) else { return Ok(None) };
    let at = |s: Option<f64>| same_sparsity(s, Some(sparsity));
    let has_layers =
        |row: &&SuiteRow| results.layers.iter().any(|l| l.row == row.name && at(l.cell));
    let rows: Vec<&SuiteRow> = results.manifest.rows.iter().filter(has_layers).collect();
    let mut layers: Vec<Layer> = Vec::new();
    for line in results.layers.iter().filter(|line| at(line.cell)) {
        if layers.iter().all(|layer| layer.name != line.layer) {
            let mean = |row: &&SuiteRow| {
                let same = results
                    .layers
                    .iter()
                    .filter(|l| l.row == row.name && l.layer == line.layer && at(l.cell))
                    .filter(|l| l.n_weights > 0);
                Summary::of(same.map(|l| l.n_kept as f64 / l.n_weights as f64)).map(|s| s.mean)
            };
            let kept = rows.iter().map(mean).collect();
            layers.push(Layer { name: line.layer.clone(), n_weights: line.n_weights, kept });
        }
    }
    if layers.is_empty() {
        return Ok(None);
    }
    let layout = |screen: Screen| Layout::of(&layers, &rows, screen);
    let (wide, narrow) = draw(
        |screen| layout(screen).height(),
        |screen, area| layout(screen).paint(&layers, &rows, area),
    )?;
    let ends = |(i, row): (usize, &&SuiteRow)| -> Option<String> {
        let of_row = || layers.iter().filter_map(|layer| Some((&layer.name, layer.kept[i]?)));
        let (most, least) = (
            of_row().max_by(|a, b| a.1.total_cmp(&b.1))?,
            of_row().min_by(|a, b| a.1.total_cmp(&b.1))?,
        );
        let percent = |(name, kept): (&String, f64)| format!("{} % in {name}", format::kept(kept));
        Some(format!("{}: most, {}; least, {}", row.label, percent(most), percent(least)))
    };
    let alt: Vec<String> = rows.iter().enumerate().filter_map(ends).collect();
    Ok(Some(Figure {
        id: "layers",
        title: format!("Weights kept per layer at {} sparsity", format::percent_short(sparsity)),
        alt: format!("Table of the percentage of weights kept in each layer. {}.", alt.join(". ")),
        caption: "Percentage of kept weights in each layer, mean over the seeds; a stronger colour means fewer. \
                  “>0” is less than 0.005 %, and 0 is none. The number after the name of a layer counts its weights."
            .to_owned(),
        legend: Vec::new(),
        wide,
        narrow,
    }))
}

/// Positions and sizes, in CSS pixels.
struct Layout {
    /// Width of the names of methods.
    names: i32,
    /// Texts above the layers.
    heads: Vec<String>,
    /// Whether these texts are turned, because they are wider than a cell.
    is_turned: bool,
    /// Height of these texts.
    head: i32,
    /// Width of a cell.
    cell: i32,
    /// Layers per block.
    per_block: usize,
    n_rows: i32,
}

impl Layout {
    fn of(layers: &[Layer], rows: &[&SuiteRow], screen: Screen) -> Self {
        let (widest_name, longest_head) = match screen {
            Screen::Wide => (250.0, 200.0),
            Screen::Narrow => (120.0, 140.0),
        };
        let widest = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| width(text, SIZE)).fold(0.0, f64::max)
        };
        let names =
            widest(&mut rows.iter().map(|row| &row.label[..])).min(widest_name).ceil() as i32;
        let room = screen.width() - names - GAP - 2;
        let most_per_block = (room / LEAST_CELL).max(1) as usize;
        let n_blocks = layers.len().div_ceil(most_per_block).max(1);
        let per_block = layers.len().div_ceil(n_blocks);
        let cell = (room / per_block as i32).min(WIDEST_CELL);
        // An ending that all names share gives no information.
        let is_weight = layers.iter().all(|layer| layer.name.ends_with(".weight"));
        let head = |layer: &Layer| {
            let name = layer.name.strip_suffix(".weight").filter(|_| is_weight);
            let n_weights = format::count(layer.n_weights as f64);
            let text = format!("{} ({n_weights})", name.unwrap_or(&layer.name));
            fitted(&text, SIZE, longest_head)
        };
        let heads: Vec<String> = layers.iter().map(head).collect();
        let longest = widest(&mut heads.iter().map(String::as_str));
        let is_turned = longest > f64::from(cell - GAP);
        let head = if is_turned { longest.ceil() as i32 + GAP } else { LINE_HEIGHT };
        Self { names, heads, is_turned, head, cell, per_block, n_rows: rows.len() as i32 }
    }

    fn height_of_block(&self) -> i32 {
        self.head + LINE_HEIGHT * self.n_rows + GAP
    }

    fn height(&self) -> i32 {
        self.height_of_block() * self.heads.len().div_ceil(self.per_block) as i32
    }

    fn paint(&self, layers: &[Layer], rows: &[&SuiteRow], area: &Area) -> chart::Result<()> {
        // The scale is logarithmic: 1 % and 2 % differ like 50 % and 100 %.
        let strength = |kept: f64| -kept.max(1e-4).log2();
        let all = || layers.iter().flat_map(|layer| layer.kept.iter().flatten().copied());
        let (low, high) = all()
            .map(strength)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let shade =
            |kept: f64| 0.04 + (MAX_SHADE - 0.04) * (strength(kept) - low) / (high - low).max(1e-9);

        let left = self.names + GAP;
        for (i, (layer, head)) in layers.iter().zip(&self.heads).enumerate() {
            let (block, column) = (i / self.per_block, i % self.per_block);
            let top = self.height_of_block() * block as i32 + self.head;
            let x = left + self.cell * column as i32;
            self.paint_head(head, (x + self.cell / 2, top), area)?;
            for (j, (row, kept)) in rows.iter().zip(&layer.kept).enumerate() {
                let y = top + LINE_HEIGHT * j as i32;
                if column == 0 {
                    let name = fitted(&row.label, SIZE, f64::from(self.names));
                    let style = font(SIZE, INK, HPos::Right, VPos::Center);
                    let at = (px(self.names), px(y + LINE_HEIGHT / 2));
                    area.draw(&Text::new(name, at, style))?;
                }
                let corners = [(px(x), px(y)), (px(x + self.cell), px(y + LINE_HEIGHT))];
                if let Some(kept) = kept {
                    let fill = SERIES[2].mix(shade(*kept)).filled();
                    area.draw(&Rectangle::new(corners, fill))?;
                }
                area.draw(&Rectangle::new(corners, GRID.stroke_width(px(1) as u32)))?;
                let text = kept.map_or_else(|| NOTHING.to_owned(), format::kept);
                let at = (px(x + self.cell / 2), px(y + LINE_HEIGHT / 2));
                let style = font(SIZE, INK, HPos::Center, VPos::Center);
                area.draw(&Text::new(text, at, style))?;
            }
        }
        Ok(())
    }

    /// Draws the name of a layer above the middle of its column.
    fn paint_head(&self, head: &str, (x, bottom): (i32, i32), area: &Area) -> chart::Result<()> {
        let (style, up) = match self.is_turned {
            true => {
                let style = font(SIZE, MUTED, HPos::Left, VPos::Center);
                (style.transform(FontTransform::Rotate270), GAP / 2)
            }
            false => (font(SIZE, MUTED, HPos::Center, VPos::Center), LINE_HEIGHT / 2),
        };
        area.draw(&Text::new(head.to_owned(), (px(x), px(bottom - up)), style))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_layer_and_method_has_its_number() {
        let figure = figure(&testing::results()).expect("draws").expect("a figure");
        let feather = "Feather: most, 52 % in conv1; least, 5.0 % in fc";
        assert!(figure.alt.contains(feather), "{}", figure.alt);
        for svg in [&figure.wide, &figure.narrow] {
            assert_eq!(svg.matches("\n52\n").count(), 2);
            assert_eq!(svg.matches("\n5.0\n").count(), 2);
            assert!(svg.contains("conv2 (1,000)"));
        }
        assert!(!figure.wide.contains("rotate("));
    }

    #[test]
    fn layers_without_weights_have_no_number() {
        let mut results = testing::results();
        for line in results.layers.iter_mut().filter(|line| line.layer == "conv1") {
            (line.n_weights, line.n_kept) = (0, 0);
        }
        let figure = figure(&results).expect("draws").expect("a figure");
        assert_eq!(figure.wide.matches(&format!("\n{NOTHING}\n")).count(), 2);
        assert!(!figure.wide.contains("NaN") && !figure.alt.contains("conv1"));
    }

    #[test]
    fn many_layers_are_turned_and_continue_in_another_block() {
        let names: Vec<String> = (0..45).map(|i| format!("dense.{i}.weight")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows = [testing::row("one", "One", &[0.9]), testing::row("two", "Two", &[0.9])];
        let figure = figure(&testing::results_of(&rows, &names)).expect("draws").expect("a figure");
        assert_eq!(figure.wide.matches("rotate(270").count(), 45);
        assert_eq!(figure.wide.matches("One\n").count(), 2, "once in each block");
        assert!(figure.narrow.matches("One\n").count() > 2);
        assert!(figure.wide.contains("dense.44 (1,000)"), "without the ending they share");
        let mixed = testing::results_of(&rows, &["a.weight", "b"]);
        let figure = super::figure(&mixed).expect("draws").expect("a figure");
        assert!(figure.wide.contains("a.weight (1,000)"), "with one that they do not share");
    }
}
