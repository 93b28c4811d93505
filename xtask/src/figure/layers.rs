//! Sparsity per layer: a heat map, layers down, methods across.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use taper_report::chart::{self, Area, GRID, INK, MUTED, SERIES, Screen, draw, font, px};

use super::{Figure, highest};
use crate::bands::same_sparsity;
use crate::results::Results;
use crate::suite::Row;
use taper_report::format::{self, NOTHING};
use taper_report::stats::Summary;

const LINE_HEIGHT: i32 = 26;
const HEAD_HEIGHT: i32 = 28;
/// The strongest shade, at which text on it is still easily read.
const MAX_SHADE: f64 = 0.5;

/// Mean sparsities of one layer, in the order of the methods.
struct Layer {
    name: String,
    n_weights: u64,
    sparsities: Vec<Option<f64>>,
}

/// Draws the figure; `None` when there are no layers to show.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let Some(sparsity) = highest(results) else { return Ok(None) };
    let at = |s: Option<f64>| same_sparsity(s, Some(sparsity));
    let has_layers = |row: &&Row| results.layers.iter().any(|l| l.row == row.name && at(l.cell));
    let rows: Vec<&Row> = results.manifest.rows.iter().filter(has_layers).collect();
    let mut layers: Vec<Layer> = Vec::new();
    for line in results.layers.iter().filter(|line| at(line.cell)) {
        if layers.iter().all(|layer| layer.name != line.layer) {
            let mean = |row: &&Row| {
                let same = results
                    .layers
                    .iter()
                    .filter(|l| l.row == row.name && l.layer == line.layer && at(l.cell));
                Summary::of(same.map(|l| l.sparsity)).map(|summary| summary.mean)
            };
            let sparsities = rows.iter().map(mean).collect();
            layers.push(Layer { name: line.layer.clone(), n_weights: line.n_weights, sparsities });
        }
    }
    if layers.is_empty() {
        return Ok(None);
    }
    let height = |_| HEAD_HEIGHT + LINE_HEIGHT * layers.len() as i32 + 4;
    let (wide, narrow) = draw(height, |screen, area| paint(&layers, &rows, screen, area))?;
    let alt: Vec<String> = layers
        .iter()
        .map(|layer| {
            let methods = rows.iter().zip(&layer.sparsities);
            let methods: Vec<String> =
                methods.map(|(row, s)| format!("{} {}", row.label, text(*s))).collect();
            format!("{}: {}", layer.name, methods.join(", "))
        })
        .collect();
    Ok(Some(Figure {
        id: "layers",
        title: format!("Sparsity per layer at {}", format::percent_short(sparsity)),
        alt: format!("Table of the sparsity of each layer. {}.", alt.join("; ")),
        caption: "Share of each layer's weights that is zero, mean over the seeds; the stronger the colour, the fewer \
                  are kept. On wide screens the number of weights stands behind the name."
            .to_owned(),
        legend: Vec::new(),
        wide,
        narrow,
    }))
}

fn text(sparsity: Option<f64>) -> String {
    sparsity.map_or_else(|| NOTHING.to_owned(), |s| format::percent(s, 1))
}

fn paint(layers: &[Layer], rows: &[&Row], screen: Screen, area: &Area) -> chart::Result<()> {
    let (names, size) = match screen {
        Screen::Wide => (240, 12.0),
        Screen::Narrow => (116, 11.0),
    };
    // Keeping 1 % rather than 2 % matters as much as keeping 50 % rather than 100 %.
    let strength = |s: f64| -(1.0 - s).max(1e-4).log2();
    let all =
        || layers.iter().flat_map(|layer| layer.sparsities.iter().flatten().copied().map(strength));
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let shade = |s: f64| 0.04 + (MAX_SHADE - 0.04) * (strength(s) - low) / (high - low).max(1e-9);

    let left = px(names);
    let width = (px(screen.width() - 2) - left) / rows.len().max(1) as i32;
    let line = px(LINE_HEIGHT);
    for (j, row) in rows.iter().enumerate() {
        let at = (left + width * j as i32 + width / 2, px(6));
        area.draw(&Text::new(row.label.clone(), at, font(size, MUTED, HPos::Center, VPos::Top)))?;
    }
    for (i, layer) in layers.iter().enumerate() {
        let top = px(HEAD_HEIGHT) + line * i as i32;
        let name = match screen {
            Screen::Wide => format!("{} ({})", layer.name, format::count(layer.n_weights as f64)),
            Screen::Narrow => shortened(&layer.name, 18),
        };
        let at = (left - px(8), top + line / 2);
        area.draw(&Text::new(name, at, font(size, INK, HPos::Right, VPos::Center)))?;
        for (j, sparsity) in layer.sparsities.iter().enumerate() {
            let corner = (left + width * j as i32, top);
            let opposite = (corner.0 + width, top + line);
            if let Some(s) = sparsity {
                area.draw(&Rectangle::new([corner, opposite], SERIES[2].mix(shade(*s)).filled()))?;
            }
            area.draw(&Rectangle::new([corner, opposite], GRID.stroke_width(px(1) as u32)))?;
            let at = (corner.0 + width / 2, top + line / 2);
            area.draw(&Text::new(
                text(*sparsity),
                at,
                font(size, INK, HPos::Center, VPos::Center),
            ))?;
        }
    }
    Ok(())
}

/// The end of a long name, which tells layers apart.
fn shortened(name: &str, n: usize) -> String {
    let length = name.chars().count();
    if length <= n {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - n + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_layer_and_method_has_its_number() {
        let figure = figure(&testing::results()).expect("draws").expect("a figure");
        assert!(figure.alt.contains("conv1: GMP <&> 47.5 %, Feather 47.5 %"), "{}", figure.alt);
        for svg in [&figure.wide, &figure.narrow] {
            assert_eq!(svg.matches("47.5 %").count(), 2);
            assert_eq!(svg.matches("95.0 %").count(), 2);
        }
        assert!(figure.wide.contains("conv2 (1,000)"));
    }

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(shortened("conv1", 18), "conv1");
        assert_eq!(shortened("layer3.0.shortcut.0.weight", 10), "….0.weight");
    }
}
