//! A panel for each row, if one chart would have too many lines.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use taper_report::chart::{
    self, Area, Axis, Key, Screen, Style, axes, dashes, draw, fitted, font, line, px,
};

use crate::suite::SuiteRow;

/// Maximum number of panels side by side on a wide screen.
const COLUMNS: usize = 3;
/// Height of the name above a panel.
const HEAD: i32 = 22;
const PANEL_HEIGHT: i32 = 220;
/// Size of the name.
const SIZE: f64 = 13.0;

/// Draws a panel below the name of each row, and returns the wide and the narrow drawing.
pub(super) fn each<T>(
    rows: &[(&SuiteRow, T)],
    paint: impl Fn(&SuiteRow, &T, &Area) -> chart::Result<()>,
) -> Result<(String, String)> {
    let grid = |screen: Screen| match screen {
        Screen::Wide => (rows.len().div_ceil(COLUMNS), rows.len().min(COLUMNS)),
        Screen::Narrow => (rows.len(), 1),
    };
    let height = |screen: Screen| (HEAD + PANEL_HEIGHT) * grid(screen).0 as i32;
    Ok(draw(height, |screen, area| {
        let room = f64::from(screen.width()) / grid(screen).1.max(1) as f64 - 16.0;
        for (panel, (row, of_row)) in area.split_evenly(grid(screen)).iter().zip(rows) {
            let (head, body) = panel.split_vertically(px(HEAD));
            let name = fitted(&row.label, SIZE, room);
            let style = font(SIZE, chart::INK, HPos::Left, VPos::Top);
            head.draw(&Text::new(name, (px(2), px(4)), style))?;
            paint(row, of_row, &body)?;
        }
        Ok(())
    })?)
}

/// Draws the line of each row in a separate panel, over the line of the baseline, and returns the wide and the narrow
/// drawing.
pub(super) fn lines<'f>(
    rows: &[(&SuiteRow, Vec<(f64, f64)>)],
    baseline: Option<&str>,
    axes_of: &dyn Fn() -> (Axis<'f>, Axis<'f>),
) -> Result<(String, String)> {
    let compared = rows.iter().find(|(row, _)| Some(row.name.as_str()) == baseline);
    each(rows, |_, points, area| {
        let (x, y) = axes_of();
        let mut chart = axes(area, x, y)?;
        if let Some((_, points)) = compared {
            dashes(&mut chart, points, Style::BASELINE.line(1.5))?;
        }
        line(&mut chart, points, OWN.line(2.0))
    })
}

/// The style of the panel's row.
pub(super) const OWN: Style = Style { colour: chart::SERIES[2], marker: Some(0) };

/// The legend of [`lines`], with the label of the baseline.
pub(super) fn legend(baseline: Option<&str>) -> Vec<Key> {
    let own = Key { mark: "line", ..OWN.key("the row above the panel") };
    std::iter::once(own).chain(baseline.map(|label| Style::BASELINE.key(label))).collect()
}
