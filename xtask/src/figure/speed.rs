//! Time of a training step against sparsity.

use anyhow::Result;
use taper_report::format;

use super::{Figure, against_sparsity::Quantity};
use crate::results::Results;

/// Draws the figure; `None` when no sparse run has recorded its speed.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let milliseconds = |v: &f64| format!("{} ms", format::rounded(*v));
    Quantity {
        id: "speed",
        title: "Speed against sparsity",
        name: "the mean time of a training step",
        caption: "Time of a training step in the last epoch, mean over the seeds; bars show one sample deviation. Runs \
                  that shared the machine with others are slower for that.",
        axis: "Time of a step",
        of: &|run| run.step_seconds,
        unit: 1000.0,
        label: &milliseconds,
        told: &|summary| milliseconds(&(1000.0 * summary.mean)),
        from: Some(0.0),
    }
    .figure(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_cell_has_its_time_and_without_times_there_is_no_figure() {
        let mut results = testing::results();
        let one = results.runs.iter_mut().find(|run| run.row == "feather").expect("a run");
        one.step_seconds = Some(0.4);
        let drawn = figure(&results).expect("draws").expect("a figure");
        assert!(drawn.alt.contains("Feather at 90 %: 200 ms"), "{}", drawn.alt);
        assert!(drawn.alt.contains("GMP <&> at 95 %: 100 ms"), "{}", drawn.alt);
        results.runs.iter_mut().for_each(|run| run.step_seconds = None);
        assert!(figure(&results).expect("draws").is_none());
    }
}
