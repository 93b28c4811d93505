//! Charts as text.

use textplots::{Chart, Plot, Shape};

/// Minimum and maximum width in characters, without the labels.
const WIDTH: std::ops::RangeInclusive<u32> = 16..=400;
/// Width of the labels in characters.
const LABELS: u32 = 12;

/// Draws lines through points as text, at most `columns` characters wide. Empty if that is too narrow, or there is
/// nothing to draw.
pub fn text(series: &[&[(f64, f64)]], columns: u32) -> String {
    let finite =
        || series.iter().copied().flatten().filter(|(x, y)| x.is_finite() && y.is_finite());
    let (from, to) = finite()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), (x, _)| (from.min(*x), to.max(*x)));
    let width = columns.saturating_sub(LABELS).min(*WIDTH.end());
    if from >= to || !WIDTH.contains(&width) {
        return String::new();
    }
    // Its points are eighths of a character: two across and four down.
    let width = 2 * width;
    let points: Vec<Vec<(f32, f32)>> = series
        .iter()
        .map(|points| points.iter().map(|&(x, y)| (x as f32, y as f32)).collect())
        .collect();
    let shapes: Vec<Shape> = points.iter().map(|points| Shape::Lines(points)).collect();
    let mut chart = Chart::new(width, 60, from as f32, to as f32);
    let drawn = shapes.iter().fold(&mut chart, |chart, shape| chart.lineplot(shape));
    drawn.axis();
    drawn.figures();
    drawn.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_line_begins_low_and_ends_high() {
        let points: Vec<(f64, f64)> =
            (0..100).map(|i| (f64::from(i), f64::from(i) / 99.0)).collect();
        let text = text(&[&points], 60);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() > 10, "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{text}");
        let drawn = '\u{2801}'..='\u{28ff}';
        let last_drawn = |line: &str| {
            let chars: Vec<char> = line.chars().collect();
            chars.iter().rposition(|c| drawn.contains(c))
        };
        assert!(last_drawn(lines[0]) > Some(40), "{text}");
        assert!(text.contains("0.0") && text.contains("1.0") && text.contains("99"), "{text}");
        assert_eq!(super::text(&[&[(1.0, 1.0)]], 60), "");
        for columns in (0..40).chain([u32::MAX]) {
            assert_eq!(super::text(&[&points], columns).is_empty(), columns < 28, "{columns}");
        }
    }
}
