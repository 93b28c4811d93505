//! Test accuracy against sparsity.

use anyhow::Result;

use super::{Figure, against_sparsity::Quantity};
use crate::results::Results;
use taper_report::format;

/// Draws the figure; `None` if no sparse run has finished.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    Quantity {
        id: "accuracy",
        title: "Accuracy against sparsity",
        name: "mean test accuracy",
        caption: "Test accuracy after the last epoch, mean over the seeds; bars show one standard deviation. Each \
                  halving of the kept weights has the same width.",
        axis: "Test accuracy",
        of: &|run| Some(run.test_accuracy),
        unit: 100.0,
        label: &|v| format!("{} %", format::rounded(*v)),
        told: &format::accuracy,
        from: None,
    }
    .figure(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_cell_is_in_the_alternative_text_and_each_row_in_the_legend() {
        let figure = figure(&testing::results()).expect("draws").expect("a figure");
        for cell in ["Dense: 88.10 ± 0.10 %", "GMP <&> at 95 %: 88.10", "Feather at 90 %: 89.10"] {
            assert!(figure.alt.contains(cell), "{}", figure.alt);
        }
        let legend: Vec<&str> = figure.legend.iter().map(|key| key.mark).collect();
        assert_eq!(legend, ["dash", "circle", "square"]);
        assert!(figure.wide.contains("90 %") && figure.wide.contains("Sparsity target"));
    }
}
