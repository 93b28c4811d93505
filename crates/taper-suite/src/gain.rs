//! The gain of a cell over the baseline of its sparsity, and the order of the cells by gain.

use taper_report::format;
use taper_report::stats::{Difference, Pooled};

use crate::cells::{self, Cell, Verdict};
use crate::results::Results;
use crate::sparsity::same_sparsity;

/// A cell and its baseline.
pub(crate) struct Compared<'a> {
    pub(crate) cell: Cell<'a>,
    /// Label of the baseline; `None` if a sparsity has no row to compare with.
    pub(crate) baseline: Option<&'a str>,
    pub(crate) gain: Gain,
    /// The deviation of the rows of its sparsity, if the suite pools it.
    pooled: Option<Pooled>,
}

/// The gain of a cell in mean test accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gain {
    /// The cell is the baseline.
    Baseline,
    /// Over the baseline, as a fraction.
    Over(Difference),
    /// Not known: the cell or the baseline has no finished run, or an accuracy that is not finite.
    Unknown,
}

impl Gain {
    /// The difference of the means; 0 for the baseline.
    pub(crate) fn mean(self) -> Option<f64> {
        match self {
            Self::Baseline => Some(0.0),
            Self::Over(difference) => Some(difference.mean),
            Self::Unknown => None,
        }
    }
}

/// The cells that tables show, sorted by sparsity, and within a sparsity by gain: the largest first, then cells with an
/// unknown gain, then cells that have not been run.
pub(crate) fn ranked(results: &Results) -> Vec<Compared<'_>> {
    let all = cells::cells(results);
    let compare = |cell| {
        let baseline = baseline(results, &all, &cell);
        let pooled = pooled(results, &all, cell.target, baseline);
        let gain = baseline.map_or(Gain::Unknown, |baseline| gain(&cell, baseline, pooled));
        let baseline = baseline.map(|baseline| baseline.row.label.as_str());
        Compared { cell, baseline, gain, pooled }
    };
    let mut ranked: Vec<Compared> = cells::shown(results).into_iter().map(compare).collect();
    let place = |c: &Compared| {
        (c.cell.target.unwrap_or(-1.0), c.cell.verdict == Verdict::NotRun, c.gain.mean())
    };
    ranked.sort_by(|a, b| {
        let ((a_target, a_waits, a), (b_target, b_waits, b)) = (place(a), place(b));
        let by_gain = b.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.unwrap_or(f64::NEG_INFINITY));
        a_target.total_cmp(&b_target).then(a_waits.cmp(&b_waits)).then(by_gain)
    });
    ranked
}

/// The baseline of a cell: the suite's baseline if it has runs at this sparsity, or no sparsity; else the first pruned
/// row with runs at this sparsity. Cells without a sparsity are compared only with a baseline that has none.
fn baseline<'c, 'a>(results: &Results, all: &'c [Cell<'a>], cell: &Cell) -> Option<&'c Cell<'a>> {
    let has_runs = |other: &&Cell| other.accuracy().is_some_and(|s| s.mean.is_finite());
    let here = |other: &&Cell| same_sparsity(other.target, cell.target);
    let named = |other: &&Cell| Some(&other.row.name) == results.manifest.baseline.as_ref();
    let mut candidates = all.iter().filter(has_runs);
    let suites = |other: &&Cell| named(other) && (other.target.is_none() || here(other));
    candidates
        .clone()
        .find(suites)
        .or_else(|| candidates.find(|other| other.target.is_some() && here(other)))
}

/// The deviation of the cells of a sparsity and of their baseline, if the suite pools it. The baseline may have no
/// sparsity.
fn pooled(
    results: &Results,
    all: &[Cell],
    target: Option<f64>,
    baseline: Option<&Cell>,
) -> Option<Pooled> {
    let here = all.iter().filter(|cell| same_sparsity(cell.target, target));
    let elsewhere = baseline.filter(|cell| !same_sparsity(cell.target, target));
    let groups = here.chain(elsewhere).map(accuracies);
    results.manifest.pooled_deviation.then(|| Pooled::of(groups)).flatten()
}

fn accuracies(cell: &Cell) -> Vec<f64> {
    cell.runs.iter().map(|run| run.test_accuracy).collect()
}

fn gain(cell: &Cell, baseline: &Cell, pooled: Option<Pooled>) -> Gain {
    if cell.row.name == baseline.row.name {
        return Gain::Baseline;
    }
    let (own, others) = (accuracies(cell), accuracies(baseline));
    let difference = match pooled {
        Some(pooled) => pooled.difference(&own, &others),
        None => Difference::welch(&own, &others),
    };
    difference.map_or(Gain::Unknown, Gain::Over)
}

/// How the intervals are computed, for notes.
pub(crate) fn interval(ranked: &[Compared]) -> String {
    let mut deviations: Vec<String> = ranked
        .iter()
        .filter_map(|compared| {
            let points = format::rounded(100.0 * compared.pooled?.deviation);
            match (compared.cell.target, compared.gain) {
                (Some(target), _) => {
                    Some(format!("{points} points at {}", format::percent_short(target)))
                }
                (None, Gain::Over(_)) => Some(format!("{points} points without a sparsity")),
                (None, _) => None,
            }
        })
        .collect();
    deviations.dedup();
    let is_shared =
        |compared: &Compared| compared.cell.target.is_none() && compared.gain == Gain::Baseline;
    let shared = if ranked.iter().any(is_shared) { " and their baseline" } else { "" };
    match deviations[..] {
        [] => "Welch's t; rows without a deviation, as with one seed, have no interval".to_owned(),
        _ => format!(
            "Student's t, with a standard deviation that is pooled over the rows of a sparsity{shared}: {}",
            deviations.join(", ")
        ),
    }
}

/// The note of tables on the column of gains; `None` if nothing is compared.
pub(crate) fn note(ranked: &[Compared]) -> Option<String> {
    let mut labels: Vec<&str> = ranked.iter().filter_map(|compared| compared.baseline).collect();
    labels.dedup();
    let over = match labels[..] {
        [] => return None,
        [label] => label,
        _ => "the baseline of their sparsity",
    };
    let gains = ranked.iter().filter_map(|compared| match compared.gain {
        Gain::Over(difference) => Some((difference.mean, difference.half_width?)),
        _ => None,
    });
    let (clear, unclear): (Vec<_>, Vec<_>) = gains.partition(|(mean, half)| mean.abs() > *half);
    let significance = match (clear.len(), unclear.len()) {
        (_, 0) => String::new(),
        (0, _) => " No gain here is significant: each interval contains 0.".to_owned(),
        (_, n) => format!(" {n} of the gains are not significant: their intervals contain 0."),
    };
    Some(format!(
        "Within a sparsity, rows are sorted by their gain over {over}: the difference of the mean test accuracies in percentage \
         points, with the half-width of its 95 % confidence interval ({}).{significance}",
        interval(ranked)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn names(results: &Results) -> Vec<String> {
        ranked(results).iter().map(|compared| compared.cell.name()).collect()
    }

    fn find<'c, 'a>(ranked: &'c [Compared<'a>], name: &str) -> &'c Compared<'a> {
        ranked.iter().find(|compared| compared.cell.name() == name).expect("the cell")
    }

    #[test]
    fn cells_are_sorted_by_gain_within_their_sparsity() {
        let mut results = testing::results();
        let better =
            ["Dense", "Feather at 90 %", "GMP <&> at 90 %", "Feather at 95 %", "GMP <&> at 95 %"];
        assert_eq!(names(&results), better);
        for run in results.runs.iter_mut().filter(|r| r.sparsity_target == Some(0.9)) {
            run.test_accuracy = 1.0 - run.test_accuracy;
        }
        assert_eq!(names(&results)[1..3], ["GMP <&> at 90 %", "Feather at 90 %"]);
        for run in results.runs.iter_mut().filter(|r| r.row == "gmp") {
            run.test_accuracy = f64::NAN;
        }
        assert_eq!(names(&results)[1..3], ["Feather at 90 %", "GMP <&> at 90 %"]);
        assert_eq!(find(&ranked(&results), "GMP <&> at 90 %").gain, Gain::Unknown);
    }

    #[test]
    fn the_first_pruned_row_is_the_baseline_unless_the_suite_names_another() {
        let mut results = testing::results();
        let compared = ranked(&results);
        assert_eq!(find(&compared, "GMP <&> at 90 %").gain, Gain::Baseline);
        assert_eq!(find(&compared, "Dense").gain, Gain::Unknown, "it is not pruned");
        let Gain::Over(gain) = find(&compared, "Feather at 90 %").gain else { panic!("a gain") };
        assert!((gain.mean - 0.005).abs() < 1e-12, "{gain:?}");
        let text = note(&compared).expect("a note");
        assert!(text.contains("gain over GMP <&>:") && text.contains("(Welch's t; "), "{text}");

        assert!(!text.contains("significant"), "all gains are clear");
        let mut noisy = results.clone();
        for run in noisy.runs.iter_mut().filter(|run| run.row == "feather") {
            run.test_accuracy += if run.seed == 0 { 0.2 } else { -0.2 };
        }
        let mut partly = results.clone();
        for run in
            partly.runs.iter_mut().filter(|r| r.row == "feather" && r.sparsity_target == Some(0.9))
        {
            run.test_accuracy += if run.seed == 0 { 0.2 } else { -0.2 };
        }
        let text = note(&ranked(&partly)).expect("a note");
        assert!(
            text.ends_with(" 1 of the gains are not significant: their intervals contain 0."),
            "{text}"
        );
        let text = note(&ranked(&noisy)).expect("a note");
        assert!(text.ends_with("No gain here is significant: each interval contains 0."), "{text}");
        results.manifest.baseline = Some("feather".to_owned());
        let compared = ranked(&results);
        let Gain::Over(loss) = find(&compared, "GMP <&> at 95 %").gain else { panic!("a gain") };
        assert!((loss.mean + 0.005).abs() < 1e-12, "{loss:?}");
        results.manifest.baseline = Some("dense".to_owned());
        assert!(ranked(&results).iter().all(|compared| compared.baseline == Some("Dense")));
    }

    #[test]
    fn a_baseline_without_runs_is_replaced_where_it_has_none() {
        let mut results = testing::results();
        results.runs.retain(|run| !(run.row == "gmp" && run.sparsity_target == Some(0.9)));
        results.manifest.baseline = Some("gmp".to_owned());
        let compared = ranked(&results);
        assert_eq!(find(&compared, "Feather at 90 %").gain, Gain::Baseline);
        assert_eq!(find(&compared, "GMP <&> at 95 %").gain, Gain::Baseline);
        assert!(note(&compared).expect("a note").contains("the baseline of their sparsity"));
        results.runs.clear();
        assert!(note(&ranked(&results)).is_none());
        assert_eq!(ranked(&results).len(), 5);
    }

    #[test]
    fn rows_without_a_sparsity_have_a_pooled_deviation_too() {
        let rows = ["dense", "str"].map(|name| testing::row(name, name, &[]));
        let mut results = testing::results_of(&rows, &["fc"]);
        results.manifest.baseline = Some("dense".to_owned());
        results.manifest.pooled_deviation = true;
        let text = note(&ranked(&results)).expect("a note");
        assert!(text.contains("Student's t") && text.contains(" points without a"), "{text}");
    }

    #[test]
    fn a_suite_pools_the_deviation_of_its_rows_only_if_it_says_so() {
        let mut results = testing::results();
        // Feather at 90 % does not vary; GMP there has −0.01, 0 and 0.01.
        for run in results.runs.iter_mut().filter(|run| run.sparsity_target == Some(0.9)) {
            let is_gmp = run.row == "gmp";
            run.test_accuracy = if is_gmp { 0.49 + 0.01 * run.seed as f64 } else { 0.6 };
        }
        let half = |results: &Results| match find(&ranked(results), "Feather at 90 %").gain {
            Gain::Over(difference) => difference.half_width,
            other => panic!("{other:?}"),
        };
        // Welch: 2 degrees of freedom, as all of the variance is GMP's. t(2) = 4.302653.
        let own = half(&results).expect("an interval");
        assert!((own - 4.302653 * 0.01 / 3f64.sqrt()).abs() < 1e-7, "{own}");

        // Pooled: half of the variance with 4 degrees of freedom. t(4) = 2.776445.
        results.manifest.pooled_deviation = true;
        let pooled = half(&results).expect("an interval");
        let expected = 2.776445 * 0.01 / 2f64.sqrt() * (2.0 / 3f64).sqrt();
        assert!((pooled - expected).abs() < 1e-7, "{pooled}");
        let text = note(&ranked(&results)).expect("a note");
        assert!(
            text.contains("pooled over the rows of a sparsity: 0.71 points at 90 %, "),
            "{text}"
        );

        // A baseline without sparsity has a part in the deviation, too: 2 of 6 degrees of freedom.
        let mut apart = results.clone();
        apart.manifest.baseline = Some("dense".to_owned());
        for run in apart.runs.iter_mut().filter(|run| run.row == "dense") {
            run.test_accuracy = 0.9 + 0.02 * run.seed as f64;
        }
        let with_dense = half(&apart).expect("an interval");
        let expected = 2.446912 * ((2.0 + 2.0 * 4.0) / 6f64).sqrt() * 0.01 * (2.0 / 3f64).sqrt();
        assert!((with_dense - expected).abs() < 1e-7, "{with_dense}");
        let text = note(&ranked(&apart)).expect("a note");
        assert!(text.contains("rows of a sparsity and their baseline: "), "{text}");

        results.runs.retain(|run| run.row != "feather" || run.seed == 1);
        assert!(half(&results).expect("GMP has a deviation") > pooled);
        results.manifest.pooled_deviation = false;
        assert_eq!(half(&results), None);
    }
}
