//! The figures of the report: SVG drawn by plotters, once for wide and once for narrow screens.
//!
//! Colours in the drawings are placeholders. In the page they become CSS variables, so one drawing serves a light
//! page, a dark one and paper. Coordinates in plotters are whole pixels, so drawings are made larger by [`SCALE`]
//! and the page shrinks them again; lines would be jagged otherwise.

mod accuracy;
mod curves;
mod layers;
mod plot;
mod schedule;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;

use crate::bands::same_sparsity;
use crate::cells::Cell;
use crate::results::Results;
use crate::suite::Row;

/// Units of a drawing to one CSS pixel.
const SCALE: i32 = 4;

const INK: RGBColor = RGBColor(0x11, 0x11, 0x11);
const MUTED: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);

/// Colours of the sparse rows (Okabe and Ito), which people with the common kinds of colour blindness tell apart.
const SERIES: [RGBColor; 6] = [
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// A figure with all that the page says about it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The `id` of its element.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What it shows, for those who cannot see it.
    pub(crate) alt: String,
    pub(crate) caption: String,
    pub(crate) legend: Vec<Key>,
    /// SVG for wide screens.
    pub(crate) wide: String,
    /// SVG for narrow screens.
    pub(crate) narrow: String,
}

/// An entry of a legend.
#[derive(Debug, Serialize)]
pub(crate) struct Key {
    pub(crate) label: String,
    /// CSS variable with its colour.
    pub(crate) colour: String,
    /// `circle`, `square`, `triangle`, `diamond`, `dash`, `line` or `band`.
    pub(crate) mark: &'static str,
}

/// All figures for which there is something to show, in the order of the page.
pub(crate) fn all(results: &Results) -> Result<Vec<Figure>> {
    let made = [
        accuracy::figure(results)?,
        curves::figure(results)?,
        schedule::figure(results)?,
        layers::figure(results)?,
    ];
    Ok(made.into_iter().flatten().collect())
}

/// A drawing's shape; the same drawing code serves both.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Screen {
    Wide,
    Narrow,
}

impl Screen {
    /// Width in CSS pixels.
    fn width(self) -> i32 {
        match self {
            Self::Wide => 920,
            Self::Narrow => 350,
        }
    }

    /// Height in CSS pixels of a usual chart.
    fn height(self) -> i32 {
        match self {
            Self::Wide => 380,
            Self::Narrow => 270,
        }
    }
}

/// A row as it is drawn: colour and marker, the same in all figures.
#[derive(Clone, Copy)]
struct Style {
    colour: RGBColor,
    marker: Option<usize>,
}

impl Style {
    /// The style of a row; one without sparsity is grey and dashed, the others are counted without it.
    fn of(row: &Row, rows: &[Row]) -> Self {
        if row.sparsities.is_empty() {
            return Self { colour: MUTED, marker: None };
        }
        let sparse = rows.iter().filter(|r| !r.sparsities.is_empty());
        let index = sparse.take_while(|r| r.name != row.name).count();
        Self { colour: SERIES[index % SERIES.len()], marker: Some(index) }
    }

    fn key(&self, label: &str) -> Key {
        const MARKS: [&str; 4] = ["circle", "square", "triangle", "diamond"];
        let mark = self.marker.map_or("dash", |index| MARKS[index % MARKS.len()]);
        Key { label: label.to_owned(), colour: variable(self.colour), mark }
    }

    /// A line `width` CSS pixels thick.
    fn line(&self, width: f64) -> ShapeStyle {
        self.colour.stroke_width((width * f64::from(SCALE)) as u32)
    }
}

/// The highest sparsity of the suite, at which methods differ most.
fn highest(results: &Results) -> Option<f64> {
    results
        .manifest
        .rows
        .iter()
        .flat_map(|row| row.sparsities.iter().copied())
        .max_by(f64::total_cmp)
}

/// Whether a cell takes part in a comparison at one sparsity: those at it, and those without any.
fn compared(cell: &Cell, sparsity: Option<f64>) -> bool {
    cell.target.is_none() || same_sparsity(cell.target, sparsity)
}

/// Draws both versions and puts the page's colours in.
fn draw(
    height: impl Fn(Screen) -> i32,
    paint: impl for<'a> Fn(Screen, &Area<'a>) -> Result<()>,
) -> Result<(String, String)> {
    let one = |screen: Screen| -> Result<String> {
        let mut svg = String::new();
        let size = ((screen.width() * SCALE) as u32, (height(screen) * SCALE) as u32);
        {
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            paint(screen, &area)?;
            area.present()?;
        }
        Ok(for_page(&svg, size))
    };
    Ok((one(Screen::Wide)?, one(Screen::Narrow)?))
}

/// Replaces the head of an SVG file by that of an element within a page, and colours by variables.
fn for_page(svg: &str, size: (u32, u32)) -> String {
    let body = svg.split_once('>').map_or(svg, |(_, rest)| rest);
    let head = format!(
        "<svg viewBox=\"0 0 {} {}\" aria-hidden=\"true\" focusable=\"false\">",
        size.0, size.1
    );
    let mut page = format!("{head}{body}");
    for colour in SERIES.into_iter().chain([INK, MUTED, GRID]) {
        let RGBColor(r, g, b) = colour;
        page = page
            .replace(&format!("\"#{r:02X}{g:02X}{b:02X}\""), &format!("\"{}\"", variable(colour)));
    }
    page.replace("font-family=\"sans-serif\" ", "")
}

/// `var(--ink)` and so on.
fn variable(colour: RGBColor) -> String {
    match SERIES.iter().position(|c| *c == colour) {
        Some(index) => format!("var(--series-{index})"),
        None if colour == INK => "var(--ink)".to_owned(),
        None if colour == GRID => "var(--grid)".to_owned(),
        None => "var(--muted)".to_owned(),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// CSS pixels in units of a drawing.
fn px(n: i32) -> i32 {
    n * SCALE
}

/// A font of a size in CSS pixels. Plotters divides sizes by 1.24 on their way to SVG.
fn font(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    let mut style: TextStyle = ("sans-serif", size * 1.24 * f64::from(SCALE)).into();
    style.color = colour.to_backend_color();
    style.pos(Pos::new(h, v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_drawing_takes_the_colours_of_the_page() {
        for figure in all(&testing::results()).expect("draws") {
            for svg in [&figure.wide, &figure.narrow] {
                assert!(svg.starts_with("<svg viewBox="), "{}", figure.id);
                assert!(
                    svg.contains("var(--ink)") && svg.contains("var(--series-"),
                    "{}",
                    figure.id
                );
                assert!(!svg.contains("\"#"), "{} has a colour of its own", figure.id);
                assert!(!svg.contains("http"), "{}", figure.id);
            }
        }
    }

    #[test]
    fn figures_without_data_are_left_out() {
        let mut results = testing::results();
        results.runs.clear();
        results.curves.clear();
        results.steps.clear();
        results.layers.clear();
        assert!(all(&results).expect("draws nothing").is_empty());
    }
}
