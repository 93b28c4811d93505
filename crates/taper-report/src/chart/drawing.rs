//! Drawings for a page, and as separate files.

use super::{
    Area, GRID, INK, Key, MUTED, Result, SCALE, SERIES, Screen, escaped, legend::below, variable,
};
use plotters::prelude::*;

/// Draws the wide and the narrow version, with the colours of a page.
///
/// # Errors
/// [`ChartError`](super::ChartError) if `paint` fails.
pub fn draw(
    height: impl Fn(Screen) -> i32,
    paint: impl for<'a> Fn(Screen, &Area<'a>) -> Result<()>,
) -> Result<(String, String)> {
    let one = |screen: Screen| -> Result<String> {
        let (body, size) = drawing(screen, height(screen), &paint)?;
        Ok(for_page(&body, size))
    };
    Ok((one(Screen::Wide)?, one(Screen::Narrow)?))
}

/// Draws the wide version as a separate file: on white, with its legend in the drawing, and with `alt` as text for
/// readers who cannot see it.
///
/// # Errors
/// [`ChartError`](super::ChartError) if `paint` fails.
pub fn file(
    height: i32,
    alt: &str,
    paint: impl for<'a> Fn(Screen, &Area<'a>) -> Result<()>,
) -> Result<String> {
    let (body, size) = drawing(Screen::Wide, height, &|screen, area: &Area| {
        area.fill(&WHITE)?;
        paint(screen, area)
    })?;
    Ok(format!(
        "{}{}",
        head_of_file((Screen::Wide.width(), height), size, alt),
        body.replace("font-family=\"sans-serif\" ", "")
    ))
}

/// Converts a wide drawing for a page into a separate file: on white, with its legend below, and with `alt` as text for
/// readers who cannot see it. `None` if `page` is not a drawing of [`draw`].
pub fn file_of_page(page: &str, legend: &[Key], alt: &str) -> Option<String> {
    /// Between drawing and legend.
    const MARGIN: i32 = 6;
    let (head, body) = page.split_once('>')?;
    let (_, sizes) = head.split_once("viewBox=\"0 0 ")?;
    let (width, height) = sizes.split_once('"')?.0.split_once(' ')?;
    let (width, height): (u32, u32) = (width.parse().ok()?, height.parse().ok()?);
    let shown = (width as i32 / SCALE, height as i32 / SCALE);
    let (signs, below) = below(shown.1 + MARGIN, shown.0, legend);
    let shown = (shown.0, if below == 0 { shown.1 } else { shown.1 + MARGIN + below });
    let size = (width, (shown.1 * SCALE) as u32);
    let mut file = format!(
        "{}<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n{}<g transform=\"scale({SCALE})\">\n{signs}</g>\n</svg>\n",
        head_of_file(shown, size, alt),
        body.trim_end().strip_suffix("</svg>")?
    );
    for colour in SERIES.into_iter().chain([INK, MUTED, GRID]) {
        let RGBColor(r, g, b) = colour;
        file = file.replace(&variable(colour), &format!("#{r:02X}{g:02X}{b:02X}"));
    }
    Some(file)
}

fn head_of_file(shown: (i32, i32), size: (u32, u32), alt: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" \
         role=\"img\" aria-label=\"{}\" font-family=\"sans-serif\">",
        shown.0,
        shown.1,
        size.0,
        size.1,
        escaped(alt)
    )
}

/// The content of the SVG element of a drawing, and its size in units.
fn drawing(
    screen: Screen,
    height: i32,
    paint: &impl for<'a> Fn(Screen, &Area<'a>) -> Result<()>,
) -> Result<(String, (u32, u32))> {
    let mut svg = String::new();
    let size = ((screen.width() * SCALE) as u32, (height * SCALE) as u32);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(screen, &area)?;
        area.present()?;
    }
    Ok((svg.split_once('>').map_or(String::new(), |(_, rest)| rest.to_owned()), size))
}

/// Adds the SVG element for a page, and CSS variables for colours.
fn for_page(body: &str, size: (u32, u32)) -> String {
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
