//! Charts: SVG drawn by plotters, for wide and for narrow screens, and text.
//!
//! Colours in drawings are placeholders. In a page they become CSS variables, so one drawing fits a light page, a dark
//! page and paper; a separate file has the colours themselves. Plotters uses whole pixels as coordinates, which makes
//! lines jagged. Drawings are therefore [`SCALE`] times as large as they are shown.

mod dots;
mod drawing;
mod legend;
mod plot;
mod terminal;
mod width;

pub use dots::{Dot, DotPlot};
pub use drawing::{draw, file, file_of_page};
pub use legend::{legend, legend_above};
pub use plot::{Axis, Chart, axes, bar, dashes, line, marker};
pub use terminal::text;
pub use width::{fitted, width};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A chart that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw a chart: {0}")]
pub struct ChartError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for ChartError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// The result of drawing.
pub type Result<T> = std::result::Result<T, ChartError>;

/// Units of a drawing per CSS pixel.
pub const SCALE: i32 = 4;

/// Colour of text and lines.
pub const INK: RGBColor = RGBColor(0x11, 0x11, 0x11);
/// Colour of axis titles and of references.
pub const MUTED: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Colour of grid lines.
pub const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);

/// Colours of series (Okabe and Ito), distinguishable with the common kinds of colour blindness.
pub const SERIES: [RGBColor; 6] = [
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// The shape of a drawing; the same code draws both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Screen {
    /// A desktop page, or paper.
    Wide,
    /// A phone.
    Narrow,
}

impl Screen {
    /// Width in CSS pixels.
    pub fn width(self) -> i32 {
        match self {
            Self::Wide => 920,
            Self::Narrow => 350,
        }
    }

    /// Height of a usual chart in CSS pixels.
    pub fn height(self) -> i32 {
        match self {
            Self::Wide => 380,
            Self::Narrow => 270,
        }
    }
}

/// An entry of a legend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its label.
    pub label: String,
    /// CSS variable of its colour.
    pub colour: String,
    /// `circle`, `square`, `triangle`, `diamond`, `dash`, `line` or `band`; `diamond-alone` and `triangle-alone` are a
    /// diamond and a triangle without a line.
    pub mark: &'static str,
}

impl Key {
    /// Its sign as SVG shapes in a box of 26×14; the enclosing element sets its colour as fill and stroke.
    pub fn symbol(&self) -> &'static str {
        match self.mark {
            "dash" => r#"<path d="M1 7h7m3 0h5m3 0h6" stroke-width="2"/>"#,
            "band" => r#"<path d="M1 7h24" stroke-width="7" opacity=".4"/>"#,
            "circle" => r#"<path d="M1 7h24" stroke-width="2"/><circle cx="13" cy="7" r="4.5"/>"#,
            "square" => r#"<path d="M1 7h24" stroke-width="2"/><path d="M8.5 2.5h9v9h-9z"/>"#,
            "triangle" => {
                r#"<path d="M1 7h24" stroke-width="2"/><path d="M13 1.5 18.5 11.5h-11z"/>"#
            }
            "diamond" => {
                r#"<path d="M1 7h24" stroke-width="2"/><path d="M13 .8 19.2 7 13 13.2 6.8 7z"/>"#
            }
            "triangle-alone" => r#"<path d="M13 1.5 18.5 11.5h-11z"/>"#,
            "diamond-alone" => r#"<path d="M13 .8 19.2 7 13 13.2 6.8 7z"/>"#,
            _ => r#"<path d="M1 7h24" stroke-width="2"/>"#,
        }
    }
}

/// How a series is drawn: colour and marker.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colour of lines and markers.
    pub colour: RGBColor,
    /// The marker; `None` for a reference.
    pub marker: Option<usize>,
}

impl Style {
    /// The style of a reference: grey, dashed.
    pub const BASELINE: Self = Self { colour: MUTED, marker: None };

    /// The style of the series with this number, from 0; the first 24 differ in colour or marker.
    pub fn series(index: usize) -> Self {
        let marker = index + index / SERIES.len();
        Self { colour: SERIES[index % SERIES.len()], marker: Some(marker) }
    }

    /// Its entry in a legend.
    pub fn key(&self, label: &str) -> Key {
        const MARKS: [&str; 4] = ["circle", "square", "triangle", "diamond"];
        let mark = self.marker.map_or("dash", |index| MARKS[index % MARKS.len()]);
        Key { label: label.to_owned(), colour: variable(self.colour), mark }
    }

    /// A line `width` CSS pixels thick.
    pub fn line(&self, width: f64) -> ShapeStyle {
        self.colour.stroke_width((width * f64::from(SCALE)) as u32)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The CSS variable of a colour, such as `var(--ink)`.
pub fn variable(colour: RGBColor) -> String {
    match SERIES.iter().position(|c| *c == colour) {
        Some(index) => format!("var(--series-{index})"),
        None if colour == INK => "var(--ink)".to_owned(),
        None if colour == GRID => "var(--grid)".to_owned(),
        None => "var(--muted)".to_owned(),
    }
}

/// A drawing area.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Converts CSS pixels to units of a drawing.
pub fn px(n: i32) -> i32 {
    n * SCALE
}

/// A font with a size in CSS pixels. Plotters divides sizes by 1.24 when it writes SVG.
pub fn font(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    let mut style: TextStyle = ("sans-serif", size * 1.24 * f64::from(SCALE)).into();
    style.color = colour.to_backend_color();
    style.pos(Pos::new(h, v))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_lines(_: Screen, area: &Area) -> Result<()> {
        let plain = |v: &f64| v.to_string();
        let x = Axis::covering(0.0, 4.0, 4, "Step", &plain);
        let y = Axis::covering(0.0, 1.0, 2, "Share", &plain);
        let mut chart = axes(area, x, y)?;
        line(&mut chart, &[(0.0, 0.0), (4.0, 1.0)], Style::series(0).line(2.0))?;
        dashes(&mut chart, &[(0.0, 1.0), (4.0, f64::NAN)], Style::BASELINE.line(2.0))?;
        legend(area, (200, 8), &[("one", Style::series(0))])
    }

    #[test]
    fn a_drawing_takes_the_colours_of_the_page() {
        let (wide, narrow) = draw(Screen::height, two_lines).expect("draws");
        for svg in [&wide, &narrow] {
            assert!(svg.starts_with("<svg viewBox="));
            assert!(svg.contains("var(--ink)") && svg.contains("var(--series-0)"));
            assert!(!svg.contains("\"#") && !svg.contains("http"));
        }
    }

    #[test]
    fn series_differ_in_colour_or_marker() {
        let keys = (0..24).map(|i| Style::series(i).key(""));
        let signs: std::collections::BTreeSet<_> = keys.map(|key| (key.colour, key.mark)).collect();
        assert_eq!(signs.len(), 24);
    }

    #[test]
    fn a_file_stands_alone() {
        let svg = file(300, "a < b", two_lines).expect("draws");
        assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("aria-label=\"a &lt; b\"") && svg.contains("#D55E00"), "{svg}");
        assert!(!svg.contains("var("));
    }

    #[test]
    fn a_drawing_of_a_page_becomes_a_file_with_its_legend() {
        let (wide, _) = draw(Screen::height, two_lines).expect("draws");
        let keys = ["one & only", "two"].map(|label| Style::series(0).key(label));
        let svg = file_of_page(&wide, &keys, "a < b").expect("a drawing");
        assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("var(") && svg.contains("#D55E00"));
        assert!(svg.contains("one &amp; only</text>") && svg.contains("aria-label=\"a &lt; b\""));
        assert_eq!(svg.matches("<svg").count(), 1);
        // Many keys need several lines, so the file is higher.
        let height = |svg: &str| -> i32 {
            let (_, rest) = svg.split_once("height=\"").expect("a height");
            rest.split('"').next().and_then(|h| h.parse().ok()).expect("a number")
        };
        let many = vec![keys[0].clone(); 30];
        let taller = file_of_page(&wide, &many, "").expect("a drawing");
        assert!(height(&taller) > height(&svg) && height(&svg) > 380);
        assert_eq!(file_of_page("no drawing", &[], ""), None);
    }
}
