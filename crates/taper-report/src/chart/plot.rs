//! Axes, lines and markers of all charts.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, GRID, INK, MUTED, Result, SCALE, Style, font, px, width};

/// A drawing area with axes.
pub type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Coordinate, Coordinate>>;

/// A linear coordinate with labels at given values.
pub struct Coordinate {
    inner: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Coordinate {
    pub(super) fn of(axis: &Axis) -> Self {
        Self { inner: (axis.from..axis.to).into(), ticks: axis.ticks.clone() }
    }
}

impl Ranged for Coordinate {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.inner.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light points belong to a finer grid, which is not drawn.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.inner.range()
    }
}

/// An axis: its range, and the positions and the texts of its labels.
pub struct Axis<'f> {
    /// Its first value.
    pub from: f64,
    /// Its last value.
    pub to: f64,
    /// Positions of the labels.
    pub ticks: Vec<f64>,
    /// Its title.
    pub title: String,
    /// Formats a label.
    pub label: &'f dyn Fn(&f64) -> String,
}

impl<'f> Axis<'f> {
    /// An axis that covers a range, with round numbers at its labels.
    pub fn covering(
        from: f64,
        to: f64,
        n_ticks: usize,
        title: &str,
        label: &'f dyn Fn(&f64) -> String,
    ) -> Self {
        let step = round_step((to - from) / n_ticks as f64);
        let (first, last) = ((from / step).floor(), (to / step).ceil());
        let last = if last > first { last } else { first + 1.0 };
        // Only a range that is not finite gives more steps.
        let n_steps = ((last - first) as usize).min(2 * n_ticks + 2);
        let ticks = (0..=n_steps).map(|i| (first + i as f64) * step).collect();
        Self { from: first * step, to: last * step, ticks, title: title.to_owned(), label }
    }
}

/// The next larger 1, 2 or 5 times a power of ten.
#[allow(clippy::disallowed_methods, reason = "only decides where ticks are drawn")]
fn round_step(rough: f64) -> f64 {
    if !rough.is_finite() || rough <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// Draws axes and grid. The title of the y axis is above it and horizontal.
///
/// # Errors
/// [`ChartError`](super::ChartError) if it cannot be drawn.
pub fn axes<'a>(area: &Area<'a>, x: Axis, y: Axis) -> Result<Chart<'a>> {
    let widest = y.ticks.iter().map(|tick| width(&(y.label)(tick), 12.0)).fold(0.0, f64::max);
    area.draw(&Text::new(
        y.title.clone(),
        (px(2), px(2)),
        font(12.0, MUTED, HPos::Left, VPos::Top),
    ))?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(px(26))
        .margin_right(px(14))
        .x_label_area_size(px(42))
        .y_label_area_size(px(14 + widest.ceil() as i32))
        .build_cartesian_2d(Coordinate::of(&x), Coordinate::of(&y))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID.stroke_width(SCALE as u32))
        .light_line_style(TRANSPARENT)
        .axis_style(GRID.stroke_width(SCALE as u32))
        .set_all_tick_mark_size(px(4))
        .x_label_style(font(12.0, INK, HPos::Center, VPos::Top))
        .y_label_style(font(12.0, INK, HPos::Right, VPos::Center))
        .axis_desc_style(font(12.0, MUTED, HPos::Center, VPos::Bottom))
        .x_label_formatter(x.label)
        .y_label_formatter(y.label)
        .x_desc(x.title.clone())
        .draw()?;
    Ok(chart)
}

/// Draws a line through points; those that are not finite are left out.
///
/// # Errors
/// [`ChartError`](super::ChartError) if it cannot be drawn.
pub fn line(chart: &mut Chart, points: &[(f64, f64)], style: ShapeStyle) -> Result<()> {
    let points: Vec<_> =
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    chart.draw_series([PathElement::new(points, style)])?;
    Ok(())
}

/// Draws a dashed line through points; those that are not finite are left out.
///
/// # Errors
/// [`ChartError`](super::ChartError) if it cannot be drawn.
pub fn dashes(chart: &mut Chart, points: &[(f64, f64)], style: ShapeStyle) -> Result<()> {
    let points: Vec<_> =
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    chart.draw_series(DashedLineSeries::new(points, px(6), px(4), style))?;
    Ok(())
}

/// Draws the marker of a series at a point.
///
/// # Errors
/// [`ChartError`](super::ChartError) if it cannot be drawn.
pub fn marker(chart: &mut Chart, at: (f64, f64), style: Style) -> Result<()> {
    let r = px(5);
    let filled = style.colour.filled();
    let outline = match style.marker.map(|index| index % 4) {
        None => return Ok(()),
        Some(0) => {
            chart.draw_series([Circle::new(at, r, filled)])?;
            return Ok(());
        }
        Some(1) => vec![(-r, -r), (r, -r), (r, r), (-r, r)],
        Some(2) => vec![(0, -r * 6 / 5), (r * 6 / 5, r), (-r * 6 / 5, r)],
        Some(_) => vec![(0, -r * 7 / 5), (r * 7 / 5, 0), (0, r * 7 / 5), (-r * 7 / 5, 0)],
    };
    chart.draw_series([EmptyElement::at(at) + Polygon::new(outline, filled)])?;
    Ok(())
}

/// Draws a vertical bar with caps, such as one standard deviation below and above a mean.
///
/// # Errors
/// [`ChartError`](super::ChartError) if it cannot be drawn.
pub fn bar(chart: &mut Chart, x: f64, [low, high]: [f64; 2], style: Style) -> Result<()> {
    if low == high {
        return Ok(());
    }
    line(chart, &[(x, low), (x, high)], style.line(1.5))?;
    for end in [low, high] {
        let cap = PathElement::new(vec![(-px(4), 0), (px(4), 0)], style.line(1.5));
        chart.draw_series([EmptyElement::at((x, end)) + cap])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!(round_step(0.9), 1.0);
        assert_eq!(round_step(1.0), 1.0);
        assert_eq!(round_step(1.1), 2.0);
        assert_eq!(round_step(30.0), 50.0);
        assert_eq!(round_step(0.0), 1.0);
        assert_eq!(round_step(f64::NAN), 1.0);
    }

    #[test]
    fn an_axis_covers_its_values_even_a_single_one() {
        let label = |v: &f64| v.to_string();
        let axis = Axis::covering(93.2, 97.9, 5, "", &label);
        assert_eq!((axis.from, axis.to, axis.ticks.len()), (93.0, 98.0, 6));
        let axis = Axis::covering(97.0, 97.0, 5, "", &label);
        assert!(axis.from < axis.to);
        for (from, to) in [(-1e308, 1e308), (0.0, f64::INFINITY), (f64::INFINITY, -1.0)] {
            assert!(Axis::covering(from, to, 5, "", &label).ticks.len() <= 13, "{from} {to}");
        }
    }
}
