//! Draws a chart in the terminal, and the same chart as an SVG file.

use taper_report::chart::{self, Axis, Style};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let points: Vec<(f64, f64)> = (0..=50).map(|i| (f64::from(i), f64::from(i * i))).collect();
    println!("{}", chart::text(&[&points], 80));
    let svg = chart::file(300, "Squares from 0 to 50.", |_, area| {
        let number = |v: &f64| format!("{v:.0}");
        let x = Axis::covering(0.0, 50.0, 5, "Number", &number);
        let y = Axis::covering(0.0, 2500.0, 5, "Square", &number);
        let mut axes = chart::axes(area, x, y)?;
        chart::line(&mut axes, &points, Style::series(0).line(2.0))
    })?;
    let path = std::env::temp_dir().join("squares.svg");
    std::fs::write(&path, svg)?;
    println!("wrote {}", path.display());
    Ok(())
}
