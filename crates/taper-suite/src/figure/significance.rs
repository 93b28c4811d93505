//! The study of significance, if the suite drops weights or follows them.

use std::collections::BTreeMap;

use anyhow::Result;
use taper_report::chart::draw;
use taper_report::format;
use taper_report::study::{ShareRun, Study};

use super::{Figure, highest};
use crate::results::{FateLine, Results};
use crate::sparsity::same_sparsity;

/// Draws the figure; `None` if no run has dropped or followed a weight, or if several rows drop the same fraction: they
/// differ in something else, which the figure does not show.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let Some(study) = study(results) else { return Ok(None) };
    if study.fates.is_empty() && study.runs.iter().all(|run| run.share == 0.0) {
        return Ok(None);
    }
    let (wide, narrow) = draw(Study::height, |screen, area| study.paint(screen, area))?;
    let knees: Vec<String> = study
        .rules()
        .iter()
        .filter_map(|rule| Some((rule, study.knee(rule)?)))
        .map(|(rule, knee)| format!("{rule} {}", format::percent_short(knee)))
        .collect();
    let knees = match knees.is_empty() {
        true => String::new(),
        false => format!(
            " The largest fractions within one standard deviation of dropping none (dashed): {}.",
            knees.join(", ")
        ),
    };
    Ok(Some(Figure {
        id: "significance",
        title: "Do pruned weights matter?".to_owned(),
        alt: study.alt(),
        caption: format!(
            "Above: accuracy, and gradient positions and step time relative to dropping none, against the fraction of the \
             pruned weights that is permanently dropped.{knees} Below: of the weights that were pruned at a step, the fraction that returned (solid) and the fraction \
             that is kept at the end (dashed), by magnitude relative to the threshold and by age."
        ),
        legend: Vec::new(),
        wide,
        narrow,
    }))
}

/// The runs at the highest sparsity that drop weights, or that drop none and follow pruned weights. `None` if several
/// rows drop the same fraction.
fn study(results: &Results) -> Option<Study> {
    let sparsity = highest(results);
    let mut study = Study::default();
    let mut rows: BTreeMap<Option<&str>, &str> = BTreeMap::new();
    for run in results.runs.iter().filter(|run| same_sparsity(run.sparsity_target, sparsity)) {
        let is_own = |fate: &&FateLine| {
            fate.row == run.row && fate.seed == run.seed && same_sparsity(fate.cell, sparsity)
        };
        let is_followed = results.fates.iter().any(|fate| fate.row == run.row);
        let (rule, share) = match run.drop.as_deref().and_then(|drop| drop.split_once(':')) {
            Some((rule, share)) => (rule, share.parse().unwrap_or(f64::NAN)),
            None if is_followed => {
                study.fates.extend(results.fates.iter().filter(is_own).map(FateLine::fate));
                ("none", 0.0)
            }
            None => continue,
        };
        if *rows.entry(run.drop.as_deref()).or_insert(&run.row) != run.row {
            return None;
        }
        study.runs.push(ShareRun {
            rule: rule.to_owned(),
            share,
            seed: run.seed,
            accuracy: run.test_accuracy,
            live: run.n_live.unwrap_or(f64::NAN) / run.n_prunable as f64,
            step_seconds: run.step_seconds,
        });
    }
    Some(study)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn only_a_suite_that_drops_or_follows_weights_has_the_figure() {
        let mut results = testing::results();
        assert!(figure(&results).expect("draws").is_none());
        let (row, cell) = ("feather".to_owned(), Some(0.95));
        let (step, decile, age) = (10, 9, 1);
        let (n_pruned, n_back, n_kept) = (10, 4, 2);
        results.fates.push(FateLine {
            row,
            cell,
            seed: 0,
            step,
            decile,
            age,
            n_pruned,
            n_back,
            n_kept,
        });
        for run in results.runs.iter_mut().filter(|run| run.row == "gmp") {
            run.drop = Some("smallest:0.5".into());
        }
        let drawn = |results: &Results| figure(results).expect("draws");
        let mut two = results.clone();
        for run in two.runs.iter_mut().filter(|run| run.row == "feather") {
            run.drop = Some("smallest:0.5".into());
        }
        assert!(drawn(&two).is_none(), "two rows drop a half");
        let figure = drawn(&results).expect("a figure");
        assert!(figure.alt.contains("step 10: 20.00 % significant"), "{}", figure.alt);
        assert!(figure.alt.contains("smallest 50 %: accuracy"), "{}", figure.alt);
        assert!(figure.caption.contains("dropping none"), "{}", figure.caption);
        // Dropped weights cannot return: their fates do not count.
        let of_drops = FateLine { row: "gmp".to_owned(), n_kept: 0, ..results.fates[0].clone() };
        results.fates.push(of_drops);
        assert_eq!(drawn(&results).expect("a figure").alt, figure.alt);
    }
}
