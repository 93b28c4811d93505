//! The gain of each row over the baseline, by sparsity: a dot plot.

use std::cmp::Ordering;

use anyhow::Result;
use taper_report::chart::{self, Dot, DotPlot, Key, Style, draw};
use taper_report::format;

use super::Figure;
use crate::gain::{Compared, Gain, interval, ranked};
use crate::results::Results;
use crate::sparsity::same_sparsity;

/// The reference of the comparison.
const BASELINE: Style = Style { colour: chart::INK, marker: Some(2) };
const BETTER: Style = Style { colour: chart::SERIES[2], marker: Some(0) };
const WORSE: Style = Style { colour: chart::SERIES[0], marker: Some(1) };
/// The interval contains 0, or there is no interval.
const OPEN: Style = Style { colour: chart::MUTED, marker: Some(3) };

/// Draws the figure; `None` if no sparsity has a row to compare with.
pub(super) fn figure(results: &Results) -> Result<Option<Figure>> {
    let mut ranked = ranked(results);
    ranked.retain(|compared| compared.cell.target.is_some() && compared.gain.mean().is_some());
    if ranked.is_empty() {
        return Ok(None);
    }
    let groups: Vec<&[Compared]> =
        ranked.chunk_by(|a, b| same_sparsity(a.cell.target, b.cell.target)).collect();
    let dots: Vec<DotPlot> = groups.iter().map(|rows| group(rows)).collect();
    let label = |v: &f64| {
        let text = format::rounded(v.abs());
        match v.partial_cmp(&0.0) {
            Some(Ordering::Greater) => format!("+{text}"),
            Some(Ordering::Less) => format!("−{text}"),
            _ => text,
        }
    };
    let (wide, narrow) = draw(
        |screen| DotPlot::height(&dots, screen),
        |screen, area| DotPlot::paint(&dots, &label, screen, area),
    )?;
    let alt: Vec<String> = dots
        .iter()
        .map(|group| {
            let rows: Vec<String> =
                group.rows.iter().map(|dot| format!("{} {}", dot.name, dot.text)).collect();
            format!("{}: {}", group.title, rows.join(", "))
        })
        .collect();
    Ok(Some(Figure {
        id: "gain",
        title: "Gain over the baseline in test accuracy".to_owned(),
        alt: format!(
            "Chart of the accuracy gain of each row, in percentage points. {}.",
            alt.join(". ")
        ),
        caption: format!(
            "Mean test accuracy after the last epoch minus that of the baseline at the same sparsity, in points; the best row \
             comes first. Bars are 95 % confidence intervals ({}). An arrow marks an interval that is wider than the axis. Of \
             20 rows that are not different from the baseline, one is expected to be marked better or worse by chance.",
            interval(&ranked)
        ),
        legend: legend(&ranked),
        wide,
        narrow,
    }))
}

/// The rows at one sparsity, at least one.
fn group(rows: &[Compared]) -> DotPlot {
    let baseline = rows.iter().find(|compared| compared.gain == Gain::Baseline);
    let label = rows.iter().find_map(|compared| compared.baseline).unwrap_or_default();
    let accuracy = baseline
        .and_then(|compared| compared.cell.accuracy())
        .map(|accuracy| format!(" ({})", format::accuracy(&accuracy)))
        .unwrap_or_default();
    let sparsity = rows.iter().find_map(|compared| compared.cell.target);
    let dot = |compared: &Compared| {
        let (interval, text) = match &compared.gain {
            Gain::Over(difference) => {
                let points = |ends: [f64; 2]| ends.map(|end| 100.0 * end);
                (difference.interval().map(points), format::gain(difference))
            }
            _ => (None, "baseline".to_owned()),
        };
        Dot {
            name: compared.cell.row.label.clone(),
            value: 100.0 * compared.gain.mean().unwrap_or(f64::NAN),
            interval,
            text,
            style: style(compared.gain),
        }
    };
    DotPlot {
        title: format!(
            "{} sparsity, over {label}{accuracy}",
            sparsity.map(format::percent_short).unwrap_or_default()
        ),
        axis: format!("Gain over {label}, points"),
        reference: Some(0.0),
        rows: rows.iter().map(dot).collect(),
    }
}

fn style(gain: Gain) -> Style {
    match gain {
        Gain::Baseline => BASELINE,
        Gain::Unknown => OPEN,
        Gain::Over(difference) => match difference.verdict() {
            Ordering::Greater => BETTER,
            Ordering::Less => WORSE,
            Ordering::Equal => OPEN,
        },
    }
}

/// The signs that occur in the figure.
fn legend(ranked: &[Compared]) -> Vec<Key> {
    let has = |of: &dyn Fn(&Gain) -> bool| ranked.iter().any(|compared| of(&compared.gain));
    let is = |gain: &Gain, wanted: Ordering| matches!(gain, Gain::Over(d) if d.half_width.is_some() && d.verdict() == wanted);
    let alone = Key { mark: "diamond-alone", ..OPEN.key("one seed or equal values: no interval") };
    let keys = [
        (has(&|gain| is(gain, Ordering::Greater)), BETTER.key("better: the interval is above 0")),
        (has(&|gain| is(gain, Ordering::Less)), WORSE.key("worse: the interval is below 0")),
        (
            has(&|gain| is(gain, Ordering::Equal)),
            OPEN.key("no difference shown: 0 is in the interval"),
        ),
        (has(&|gain| matches!(gain, Gain::Over(d) if d.half_width.is_none())), alone),
        (
            has(&|gain| *gain == Gain::Baseline),
            Key { mark: "triangle-alone", ..BASELINE.key("baseline") },
        ),
    ];
    keys.into_iter().filter(|(is_there, _)| *is_there).map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn rows_are_ordered_by_gain_and_the_legend_has_only_their_signs() {
        let mut results = testing::results();
        let drawn = figure(&results).expect("draws").expect("a figure");
        let rows =
            "90 % sparsity, over GMP <&> (88.60 ± 0.10 %): Feather +0.50 ± 0.23, GMP <&> baseline.";
        assert!(drawn.alt.contains(rows), "{}", drawn.alt);
        let marks = |figure: &Figure| figure.legend.iter().map(|key| key.mark).collect::<Vec<_>>();
        assert_eq!(marks(&drawn), ["circle", "triangle-alone"]);
        assert!(drawn.wide.contains("Gain over GMP &lt;&amp;&gt;, points"));
        assert!(!drawn.wide.contains("Dense"), "it is not pruned");

        results.manifest.baseline = Some("feather".to_owned());
        results.runs.retain(|run| run.sparsity_target != Some(0.95) || run.seed == 0);
        let drawn = figure(&results).expect("draws").expect("a figure");
        assert_eq!(marks(&drawn), ["square", "diamond-alone", "triangle-alone"]);
        assert!(drawn.alt.contains("Feather baseline, GMP <&> −0.50."), "{}", drawn.alt);

        results.runs.retain(|run| run.row == "dense");
        assert!(figure(&results).expect("draws").is_none());
    }

    #[test]
    fn a_difference_that_is_not_significant_is_left_open() {
        let mut results = testing::results();
        for run in results.runs.iter_mut().filter(|run| run.row == "feather") {
            run.test_accuracy += [0.03, -0.02, -0.03][run.seed as usize];
        }
        let drawn = figure(&results).expect("draws").expect("a figure");
        assert_eq!(drawn.legend[0].mark, "diamond");
        // The bar of each of the two sparsities, with its ends.
        assert!(drawn.wide.matches("<polyline").count() >= 2 * 3);
    }
}
