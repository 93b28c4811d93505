//! Legends: a sign and a label for each series, on as many lines as they need.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, INK, Key, Result, SCALE, Style, fitted, font, px, width};

/// Size of labels in CSS pixels.
const SIZE: f64 = 12.0;
/// Height of a line.
pub(super) const LINE: i32 = 22;
/// From the left of a sign to the left of its label.
pub(super) const SIGN: i32 = 32;
/// From the end of a label to the next sign.
const GAP: i32 = 18;

/// An entry of a legend with its place.
pub(super) struct Entry {
    /// The label, shortened to the available width.
    pub(super) label: String,
    /// Left edge of the sign, from the left of the legend.
    pub(super) x: i32,
    /// Number of the line.
    pub(super) line: i32,
}

/// Places labels on lines of a given width.
pub(super) fn entries<'l>(labels: impl Iterator<Item = &'l str>, room: i32) -> Vec<Entry> {
    let (mut x, mut line) = (0, 0);
    let place = |label: &str| {
        let label = fitted(label, SIZE, f64::from(room - SIGN));
        let across = SIGN + width(&label, SIZE).ceil() as i32;
        if x > 0 && x + across > room {
            (x, line) = (0, line + 1);
        }
        let entry = Entry { label, x, line };
        x += across + GAP;
        entry
    };
    labels.map(place).collect()
}

/// Height of the legend with these entries, in CSS pixels; 0 without entries.
pub(super) fn height(entries: &[Entry]) -> i32 {
    entries.last().map_or(0, |last| LINE * (last.line + 1))
}

/// Draws a legend from `(x, y)` on, in CSS pixels; `y` is the middle of its first line. Lines end at the edge of the
/// area.
///
/// # Errors
/// [`ChartError`](super::ChartError) if it cannot be drawn.
pub fn legend(area: &Area, (left, top): (i32, i32), series: &[(&str, Style)]) -> Result<()> {
    let room = area.dim_in_pixel().0 as i32 / SCALE - left;
    let entries = entries(series.iter().map(|(label, _)| *label), room);
    for (entry, (_, style)) in entries.into_iter().zip(series) {
        let (x, y) = (left + entry.x, top + LINE * entry.line);
        let stroke = PathElement::new(vec![(px(x), px(y)), (px(x + 24), px(y))], style.line(2.5));
        area.draw(&stroke)?;
        let at = (px(x + SIGN), px(y));
        area.draw(&Text::new(entry.label, at, font(SIZE, INK, HPos::Left, VPos::Center)))?;
    }
    Ok(())
}

/// Draws a legend at the top of an area, and returns the rest of the area.
///
/// # Errors
/// [`ChartError`](super::ChartError) if it cannot be drawn.
pub fn legend_above<'a>(area: &Area<'a>, series: &[(&str, Style)]) -> Result<Area<'a>> {
    const LEFT: i32 = 2;
    let room = area.dim_in_pixel().0 as i32 / SCALE - LEFT;
    let height = height(&entries(series.iter().map(|(label, _)| *label), room));
    let (head, rest) = area.split_vertically(px(height));
    legend(&head, (LEFT, LINE / 2), series)?;
    Ok(rest)
}

/// The legend of a file below its drawing, as SVG in CSS pixels, and its height.
pub(super) fn below(top: i32, room: i32, keys: &[Key]) -> (String, i32) {
    const LEFT: i32 = 8;
    let entries = entries(keys.iter().map(|key| key.label.as_str()), room - LEFT);
    let height = height(&entries);
    let mut svg = String::new();
    for (entry, key) in entries.into_iter().zip(keys) {
        let (x, y) = (LEFT + entry.x, top + LINE * entry.line);
        let (label, colour) = (super::escaped(&entry.label), &key.colour);
        svg += &format!(
            "<g transform=\"translate({x} {y})\" fill=\"{colour}\" stroke=\"{colour}\">{}</g>\
             <text x=\"{}\" y=\"{}\" font-size=\"{SIZE}\" fill=\"var(--ink)\">{label}</text>\n",
            key.symbol(),
            x + SIGN,
            y + 11
        );
    }
    (svg, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_continue_on_the_next_line_and_are_shortened_if_a_line_is_too_short() {
        let places = |labels: &[&str], room: i32| -> Vec<(i32, i32)> {
            entries(labels.iter().copied(), room).iter().map(|e| (e.x, e.line)).collect()
        };
        assert_eq!(places(&["mm", "mm", "mm"], 1000), [(0, 0), (74, 0), (148, 0)]);
        assert_eq!(places(&["mm", "mm", "mm"], 130), [(0, 0), (74, 0), (0, 1)]);
        assert_eq!(height(&entries(["mm"; 3].into_iter(), 130)), 2 * LINE);
        assert_eq!(height(&entries([].into_iter(), 130)), 0);
        let cut = entries(["a very long label", "b"].into_iter(), 100);
        assert_eq!((cut[0].label.contains('…'), cut[1].line), (true, 1));
    }
}
