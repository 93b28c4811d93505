//! A dot plot: each row has its name, a dot with an interval around it, and the number as text.
//!
//! Lines over an axis are distinguishable only if they are few. A dot plot can have any number of rows.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::plot::Coordinate;
use super::{
    Area, Axis, Chart, GRID, INK, MUTED, Result, Screen, Style, fitted, font, line, marker, px,
    width,
};

/// Size of all text, in CSS pixels.
const SIZE: f64 = 12.0;
/// Height of the title above a group.
const HEAD: i32 = 28;
/// Height of the labels and the title of the axis below a group.
const FOOT: i32 = 50;
/// Margin at the border of the drawing, and between names, dots and numbers.
const GAP: i32 = 10;
/// Maximum width of a name next to dots.
const WIDEST_NAME: f64 = 300.0;
/// Minimum range of an axis, since its labels show hundredths.
const LEAST_RANGE: f64 = 0.05;
/// How far an interval may widen the axis at either end, as a multiple of the range of the values.
const WIDENING: f64 = 1.0;

/// A row of a dot plot.
#[derive(Clone, Debug)]
pub struct Dot {
    /// Name of the row.
    pub name: String,
    /// Position of the dot; not drawn if it is not finite.
    pub value: f64,
    /// The bar around the dot; `None` for a dot alone.
    pub interval: Option<[f64; 2]>,
    /// The number as text.
    pub text: String,
    /// Style of dot and bar.
    pub style: Style,
}

/// A group of rows with its own axis.
#[derive(Clone, Debug)]
pub struct DotPlot {
    /// The title above the group.
    pub title: String,
    /// Title of the axis.
    pub axis: String,
    /// Position of a dashed line that marks the reference of the comparison.
    pub reference: Option<f64>,
    /// The rows from top to bottom.
    pub rows: Vec<Dot>,
}

impl DotPlot {
    /// Height of groups drawn below each other, in CSS pixels.
    pub fn height(groups: &[Self], screen: Screen) -> i32 {
        groups.iter().map(|group| group.own_height(screen)).sum()
    }

    /// Draws groups below each other. `label` formats the labels of the axis, and must distinguish hundredths.
    ///
    /// # Errors
    /// [`ChartError`](super::ChartError) if it cannot be drawn.
    pub fn paint(
        groups: &[Self],
        label: &dyn Fn(&f64) -> String,
        screen: Screen,
        area: &Area,
    ) -> Result<()> {
        let widest = |of: &dyn Fn(&Dot) -> &str| {
            let rows = groups.iter().flat_map(|group| &group.rows);
            rows.map(|row| width(of(row), SIZE)).fold(0.0, f64::max).ceil()
        };
        // Shared by all groups: their axes then begin and end at the same places.
        let widths = [widest(&|row| &row.name), widest(&|row| &row.text)];
        let mut below = area.clone();
        for group in groups {
            let (own, rest) = below.split_vertically(px(group.own_height(screen)));
            group.paint_own(label, widths, screen, &own)?;
            below = rest;
        }
        Ok(())
    }

    fn own_height(&self, screen: Screen) -> i32 {
        HEAD + line_height(screen) * self.rows.len() as i32 + FOOT
    }

    /// Draws one group. `widths` are those of the widest name and of the widest number.
    fn paint_own(
        &self,
        label: &dyn Fn(&f64) -> String,
        [name, text]: [f64; 2],
        screen: Screen,
        area: &Area,
    ) -> Result<()> {
        let whole = f64::from(screen.width() - 2 * GAP);
        let title = font(13.0, INK, HPos::Left, VPos::Top);
        area.draw(&Text::new(fitted(&self.title, 13.0, whole), (px(GAP), px(4)), title))?;

        let texts = text.min(whole / 2.0);
        // On narrow screens, names are above the dots.
        let (names, left) = match screen {
            Screen::Wide => {
                let names = name.min(WIDEST_NAME);
                (names, GAP + names as i32 + GAP)
            }
            Screen::Narrow => (whole - texts - f64::from(GAP), GAP),
        };
        let right = match screen {
            Screen::Wide => screen.width() - GAP - texts as i32 - GAP,
            Screen::Narrow => screen.width() - GAP,
        };
        let height = line_height(screen);
        for (i, row) in self.rows.iter().enumerate() {
            let y = match screen {
                Screen::Wide => HEAD + height * i as i32 + height / 2,
                Screen::Narrow => HEAD + height * i as i32 + 10,
            };
            let (at, side) = match screen {
                Screen::Wide => (left - GAP, HPos::Right),
                Screen::Narrow => (GAP, HPos::Left),
            };
            let name = fitted(&row.name, SIZE, names);
            area.draw(&Text::new(name, (px(at), px(y)), font(SIZE, INK, side, VPos::Center)))?;
            let text = fitted(&row.text, SIZE, texts);
            let at = (px(screen.width() - GAP), px(y));
            area.draw(&Text::new(text, at, font(SIZE, INK, HPos::Right, VPos::Center)))?;
        }

        let (axis, [left, right]) = self.fitting_axis(label, [left, right], screen);
        let bottom = HEAD + height * self.rows.len() as i32;
        self.paint_axis(&axis, (left, right, bottom), screen, area)?;
        let plot = area
            .clone()
            .shrink((px(left), px(HEAD)), (px(right - left) as u32, px(bottom - HEAD) as u32));
        let lines = Axis {
            from: 0.0,
            to: self.rows.len().max(1) as f64,
            ticks: Vec::new(),
            title: String::new(),
            label,
        };
        let mut chart = ChartBuilder::on(&plot)
            .build_cartesian_2d(Coordinate::of(&axis), Coordinate::of(&lines))?;
        self.paint_dots(&axis, lines.to, screen, &mut chart)
    }

    /// Finds an axis with enough room for its labels between two ends. Moves the ends inwards if labels would leave the
    /// drawing. Intervals much wider than the range of the values leave the axis, since they would squeeze all dots
    /// together.
    fn fitting_axis<'f>(
        &self,
        label: &'f dyn Fn(&f64) -> String,
        [left, right]: [i32; 2],
        screen: Screen,
    ) -> (Axis<'f>, [i32; 2]) {
        let values = self.rows.iter().map(|row| row.value).chain(self.reference);
        let (least, most) = range(values.filter(|v| v.is_finite()));
        let ends = self.rows.iter().flat_map(|row| row.interval.into_iter().flatten());
        let (low, high) = range(ends.filter(|v| v.is_finite()));
        let widening = WIDENING * (most - least).max(LEAST_RANGE);
        let from = least.min(low.max(least - widening));
        let to = most.max(high.min(most + widening)).max(from + LEAST_RANGE);
        let covering = |n: usize| {
            let axis = Axis::covering(from, to, n, &self.axis, label);
            let widths = axis.ticks.iter().map(|tick| width(&label(tick), SIZE));
            let widest = widths.fold(0.0, f64::max).ceil() as i32;
            let half = widest / 2 + 2;
            let ends = [left.max(half), right.min(screen.width() - half)];
            let n_gaps = axis.ticks.len().saturating_sub(1).max(1) as i32;
            let has_room = (widest + GAP) * n_gaps <= ends[1] - ends[0];
            (has_room, (axis, ends))
        };
        let few = || covering(1).1;
        (2..=8)
            .rev()
            .map(covering)
            .find(|(has_room, _)| *has_room)
            .map_or_else(few, |(_, axis)| axis)
    }

    /// Vertical ranges in which lines cross no name: all rows, or around each dot.
    fn free_of_names(&self, screen: Screen) -> Vec<[i32; 2]> {
        const AROUND: i32 = 9;
        let height = line_height(screen);
        let dot = |i: usize| HEAD + height * i as i32 + dot_in_line(screen);
        match screen {
            Screen::Wide => vec![[HEAD, HEAD + height * self.rows.len() as i32]],
            Screen::Narrow => {
                (0..self.rows.len()).map(|i| [dot(i) - AROUND, dot(i) + AROUND]).collect()
            }
        }
    }

    fn paint_axis(
        &self,
        axis: &Axis,
        (left, right, bottom): (i32, i32, i32),
        screen: Screen,
        area: &Area,
    ) -> Result<()> {
        let style = font(SIZE, INK, HPos::Center, VPos::Top);
        let per_unit = f64::from(px(right - left)) / (axis.to - axis.from);
        for tick in &axis.ticks {
            let x = px(left) + ((tick - axis.from) * per_unit).round() as i32;
            let mut lines = self.free_of_names(screen);
            lines.push([bottom, bottom + 4]);
            for [top, bottom] in lines {
                let grid = vec![(x, px(top)), (x, px(bottom))];
                area.draw(&PathElement::new(grid, GRID.stroke_width(px(1) as u32)))?;
            }
            area.draw(&Text::new((axis.label)(tick), (x, px(bottom + 7)), style.clone()))?;
        }
        let title = fitted(&axis.title, SIZE, f64::from(right - left));
        let at = (px((left + right) / 2), px(bottom + 25));
        area.draw(&Text::new(title, at, font(SIZE, MUTED, HPos::Center, VPos::Top)))?;
        Ok(())
    }

    fn paint_dots(
        &self,
        axis: &Axis,
        n_rows: f64,
        screen: Screen,
        chart: &mut Chart,
    ) -> Result<()> {
        let height = f64::from(line_height(screen));
        let down = f64::from(dot_in_line(screen)) / height;
        for [top, bottom] in self.free_of_names(screen) {
            let y = |at: i32| n_rows - f64::from(at - HEAD) / height;
            let Some(x) = self.reference else { break };
            let style = MUTED.stroke_width(px(1) as u32);
            super::dashes(chart, &[(x, y(top)), (x, y(bottom))], style)?;
        }
        for (i, row) in self.rows.iter().enumerate().filter(|(_, row)| row.value.is_finite()) {
            let y = n_rows - i as f64 - down;
            let ends = row.interval.filter(|[low, high]| low.is_finite() && high.is_finite());
            if let Some([low, high]) = ends.filter(|[low, high]| low < high) {
                let style = row.style.line(1.5);
                let (from, to) = (low.max(axis.from), high.min(axis.to));
                line(chart, &[(from, y), (to, y)], style)?;
                for (end, is_whole, out) in [(from, low == from, -1), (to, high == to, 1)] {
                    let shape = match is_whole {
                        true => vec![(0, px(-4)), (0, px(4))],
                        // An arrow: the interval continues.
                        false => vec![(px(-6 * out), px(-4)), (0, 0), (px(-6 * out), px(4))],
                    };
                    chart.draw_series([
                        EmptyElement::at((end, y)) + PathElement::new(shape, style)
                    ])?;
                }
            }
            marker(chart, (row.value, y), row.style)?;
        }
        Ok(())
    }
}

/// Height of a row in CSS pixels.
fn line_height(screen: Screen) -> i32 {
    match screen {
        Screen::Wide => 20,
        Screen::Narrow => 36,
    }
}

/// From the top of a row to its dot, which is below the name on narrow screens.
fn dot_in_line(screen: Screen) -> i32 {
    match screen {
        Screen::Wide => line_height(screen) / 2,
        Screen::Narrow => 26,
    }
}

/// The smallest and the largest value; both are 0 without values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let of = |(low, high): (f64, f64), v: f64| (low.min(v), high.max(v));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), of);
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(intervals: &[Option<[f64; 2]>]) -> DotPlot {
        let row = |(i, interval): (usize, &Option<[f64; 2]>)| Dot {
            name: format!("row {i}"),
            value: i as f64,
            interval: *interval,
            text: format!("+{i}"),
            style: Style::series(0),
        };
        DotPlot {
            title: "A group".to_owned(),
            axis: "Gain".to_owned(),
            reference: Some(0.0),
            rows: intervals.iter().enumerate().map(row).collect(),
        }
    }

    fn label(v: &f64) -> String {
        format!("{v:.1}")
    }

    #[test]
    fn each_row_has_its_name_its_dot_and_its_number() {
        let groups = [group(&[None, Some([0.5, 1.5]), Some([1.0, 3.0])]), group(&[None])];
        let (wide, narrow) = super::super::draw(
            |screen| DotPlot::height(&groups, screen),
            |screen, area| DotPlot::paint(&groups, &label, screen, area),
        )
        .expect("draws");
        for svg in [&wide, &narrow] {
            assert_eq!(svg.matches("<circle").count(), 4);
            assert_eq!((svg.matches("row 0\n").count(), svg.matches("row 2\n").count()), (2, 1));
            assert_eq!((svg.matches("+2\n").count(), svg.matches("Gain\n").count()), (1, 2));
        }
    }

    #[test]
    fn the_axes_of_all_groups_begin_and_end_at_the_same_places() {
        let mut groups = [group(&[None; 3]), group(&[None; 3])];
        groups[1].rows[0].name = "a row with a longer name".to_owned();
        groups[1].rows[2].text = "+2.00 ± 0.50".to_owned();
        let (wide, _) = super::super::draw(
            |screen| DotPlot::height(&groups, screen),
            |screen, area| DotPlot::paint(&groups, &label, screen, area),
        )
        .expect("draws");
        let x =
            |circle: &str| circle.split_once("cx=\"")?.1.split_once('"').map(|x| x.0.to_owned());
        let dots: Vec<String> = wide.split("<circle").skip(1).filter_map(x).collect();
        assert_eq!(dots.len(), 6);
        assert_eq!(dots[..3], dots[3..]);
    }

    #[test]
    fn a_wide_interval_leaves_the_axis_and_values_never_do() {
        let label: &dyn Fn(&f64) -> String = &label;
        let fitting = |rows: &[Option<[f64; 2]>], ends: [i32; 2]| {
            group(rows).fitting_axis(label, ends, Screen::Wide)
        };
        let (axis, _) = fitting(&[None, Some([-50.0, 52.0]), None], [100, 500]);
        assert!(axis.from <= -1.0 && axis.from > -5.0, "{}", axis.from);
        assert!(axis.to >= 2.0 && axis.to < 6.0, "{}", axis.to);
        let (axis, ends) = fitting(&[None, Some([0.9, 1.1]), None], [100, 500]);
        assert_eq!((axis.from, axis.to, ends), (0.0, 2.0, [100, 500]));
        let (_, [left, right]) = fitting(&[None], [0, 920]);
        assert!(left > 5 && right < 915, "half a label has room at the border");
        let (narrow, _) = fitting(&[None; 3], [100, 160]);
        assert!(narrow.ticks.len() < axis.ticks.len(), "fewer labels where there is less room");
    }

    #[test]
    fn an_interval_that_leaves_the_axis_ends_in_arrows() {
        let groups = [group(&[None, Some([-50.0, 52.0]), Some([1.9, 2.1])])];
        let (wide, _) = super::super::draw(
            |screen| DotPlot::height(&groups, screen),
            |screen, area| DotPlot::paint(&groups, &label, screen, area),
        )
        .expect("draws");
        let n_points = |line: &str| {
            let points = line.split_once("points=\"").and_then(|(_, rest)| rest.split_once('"'));
            points.map_or(0, |(points, _)| points.split_whitespace().count())
        };
        let arrows = wide.split("<polyline").filter(|line| n_points(line) == 3);
        assert_eq!(arrows.count(), 2);
    }

    #[test]
    fn lines_cross_no_name_on_narrow_screens() {
        let group = group(&[None; 3]);
        for [top, bottom] in group.free_of_names(Screen::Narrow) {
            let in_row = (top - HEAD) % line_height(Screen::Narrow);
            assert!(in_row >= 17 && in_row + bottom - top <= line_height(Screen::Narrow));
        }
        assert_eq!(group.free_of_names(Screen::Narrow).len(), 3);
    }

    #[test]
    fn rows_without_numbers_and_groups_without_rows_are_drawn() {
        let mut none = group(&[Some([f64::NAN, f64::INFINITY]), None]);
        none.rows[0].value = f64::NAN;
        for groups in [vec![none], vec![group(&[])], Vec::new()] {
            let drawn = super::super::draw(
                |screen| DotPlot::height(&groups, screen).max(1),
                |screen, area| DotPlot::paint(&groups, &label, screen, area),
            );
            let (wide, _) = drawn.expect("draws");
            assert!(!wide.contains("NaN") && wide.matches("<circle").count() <= 1);
        }
    }
}
