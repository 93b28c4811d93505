//! Charts, tables and statistics of recorded training runs. It uses files and numbers, and no tensors.
//!
//! ```
//! use taper_report::chart::{self, Axis, Style};
//!
//! let points: Vec<(f64, f64)> = (0..=10).map(|i| (f64::from(i), f64::from(i * i))).collect();
//! let svg = chart::file(300, "Squares from 0 to 10.", |_, area| {
//!     let number = |v: &f64| format!("{v:.0}");
//!     let x = Axis::covering(0.0, 10.0, 5, "Number", &number);
//!     let y = Axis::covering(0.0, 100.0, 5, "Square", &number);
//!     let mut axes = chart::axes(area, x, y)?;
//!     chart::line(&mut axes, &points, Style::series(0).line(2.0))
//! })?;
//! assert!(svg.starts_with("<svg"));
//! println!("{}", chart::text(&[&points], 80));
//! # Ok::<(), chart::ChartError>(())
//! ```
#![forbid(unsafe_code)]

pub mod chart;
pub mod format;
pub mod stats;
pub mod study;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
