//! The figures of the report.

mod accuracy;
mod against_sparsity;
mod curves;
mod drawn;
mod gain;
#[cfg(test)]
mod labels;
mod layers;
mod panels;
mod rows;
mod schedule;
mod significance;
mod speed;
mod stability;

use anyhow::Result;

use crate::results::Results;
pub(crate) use drawn::Figure;
use rows::{baseline, compared, has_many_rows, highest, lines, style_of};

/// The `id` of every possible figure.
pub(crate) const IDS: [&str; 8] =
    ["gain", "accuracy", "curves", "speed", "schedule", "stability", "layers", "significance"];

/// All figures that have data, in the order of the page.
pub(crate) fn all(results: &Results) -> Result<Vec<Figure>> {
    let made = [
        match has_many_rows(results) {
            true => gain::figure(results)?,
            false => None,
        },
        accuracy::figure(results)?,
        curves::figure(results)?,
        speed::figure(results)?,
        schedule::figure(results)?,
        stability::figure(results)?,
        layers::figure(results)?,
        significance::figure(results)?,
    ];
    Ok(made.into_iter().flatten().collect())
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
                assert!(!svg.contains("\"#"), "{} has a fixed colour", figure.id);
                assert!(!svg.contains("http"), "{}", figure.id);
            }
        }
    }

    #[test]
    fn every_figure_has_a_known_id() {
        for figure in all(&testing::results()).expect("draws") {
            assert!(IDS.contains(&figure.id), "{}", figure.id);
        }
    }

    #[test]
    fn figures_without_data_are_left_out() {
        let mut results = testing::results();
        results.runs.clear();
        results.curves.clear();
        results.steps.clear();
        results.layers.clear();
        results.fates.clear();
        assert!(all(&results).expect("draws nothing").is_empty());
    }
}
