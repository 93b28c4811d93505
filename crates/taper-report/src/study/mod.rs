//! The study of significance: do pruned weights matter?
//!
//! It has two parts.
//!
//! *Fates*: pruned weights are grouped by their magnitude relative to the threshold, and by the time since they were
//! pruned. Of each group, a fraction returns to the mask, and a fraction is kept at the end. Weights that are kept at
//! the end are *significant*.
//!
//! *Shares*: accuracy, gradient positions and time for each fraction φ of the pruned weights that is permanently
//! pruned.
//!
//! # References
//! The question was raised by A. Zachou (NTUA, 2025).

mod figure;

use crate::{format, stats::Summary};
use std::collections::BTreeMap;
use taper_record::fate::FateRow;

/// A run in which a fraction of the pruned weights was permanently pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareRun {
    /// Which weights were dropped first.
    pub rule: String,
    /// The fraction φ, in `[0, 1]`.
    pub share: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Accuracy on the test images at the end, in `[0, 1]`.
    pub accuracy: f64,
    /// Fraction of the prunable weights that received a gradient, in `[0, 1]`: the mean over the last epoch.
    pub live: f64,
    /// Seconds per step at the end, if they were measured.
    pub step_seconds: Option<f64>,
}

/// All runs of a study.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Study {
    /// Fates of pruned weights in the runs that drop nothing.
    pub fates: Vec<FateRow>,
    /// A run for each rule, fraction and seed.
    pub runs: Vec<ShareRun>,
}

/// Counts of the pruned weights in one group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Revival {
    /// Number of pruned weights.
    pub n_pruned: u64,
    /// Number of these weights that returned to the mask at some time.
    pub n_back: u64,
    /// Number of these weights that are kept at the end.
    pub n_kept: u64,
}

impl Revival {
    fn add(&mut self, fate: &FateRow) {
        self.n_pruned += fate.n_pruned;
        self.n_back += fate.n_back;
        self.n_kept += fate.n_kept;
    }

    /// Fraction that returned, in `[0, 1]`; NaN without pruned weights.
    pub fn back(&self) -> f64 {
        self.n_back as f64 / self.n_pruned as f64
    }

    /// Fraction that is kept at the end, in `[0, 1]`: the significant weights; NaN without pruned weights.
    pub fn significant(&self) -> f64 {
        self.n_kept as f64 / self.n_pruned as f64
    }
}

/// The runs with one rule and one fraction.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Which weights were dropped first.
    pub rule: String,
    /// The fraction φ.
    pub share: f64,
    /// Accuracy over the seeds.
    pub accuracy: Summary,
    /// Fraction of the weights with a gradient, over the seeds.
    pub live: Summary,
    /// Seconds per step, over the runs that measured them.
    pub step_seconds: Option<Summary>,
}

impl Study {
    /// Sums fates over runs, by step and by another of their values.
    pub fn revival(&self, by: impl Fn(&FateRow) -> u64) -> BTreeMap<(u64, u64), Revival> {
        let mut found = BTreeMap::<_, Revival>::new();
        for fate in &self.fates {
            found.entry((fate.step, by(fate))).or_default().add(fate);
        }
        found
    }

    /// Sums fates over runs, by step, tenth of the threshold and age.
    pub fn totals(&self) -> Vec<FateRow> {
        let mut found = BTreeMap::<_, Revival>::new();
        for fate in &self.fates {
            found.entry((fate.step, fate.decile, fate.age)).or_default().add(fate);
        }
        let fate = |((step, decile, age), Revival { n_pruned, n_back, n_kept })| FateRow {
            step,
            decile,
            age,
            n_pruned,
            n_back,
            n_kept,
        };
        found.into_iter().map(fate).collect()
    }

    /// Sums fates over everything except the step.
    pub fn by_step(&self) -> BTreeMap<u64, Revival> {
        self.revival(|_| 0).into_iter().map(|((step, _), revival)| (step, revival)).collect()
    }

    /// Combines the runs of all seeds, sorted by rule and then by fraction.
    pub fn shares(&self) -> Vec<Share> {
        let mut groups: Vec<(&str, f64, Vec<&ShareRun>)> = Vec::new();
        for run in &self.runs {
            let known = groups.iter_mut().find(|(r, s, _)| *r == run.rule && *s == run.share);
            match known {
                Some((.., runs)) => runs.push(run),
                None => groups.push((&run.rule, run.share, vec![run])),
            }
        }
        groups.sort_by(|a, b| a.0.cmp(b.0).then(a.1.total_cmp(&b.1)));
        let of = |runs: &[&ShareRun], value: fn(&ShareRun) -> Option<f64>| {
            Summary::of(runs.iter().filter_map(|run| value(run)))
        };
        let share = |(rule, share, runs): (&str, f64, Vec<&ShareRun>)| {
            Some(Share {
                rule: rule.to_owned(),
                share,
                accuracy: of(&runs, |run| Some(run.accuracy))?,
                live: of(&runs, |run| Some(run.live))?,
                step_seconds: of(&runs, |run| run.step_seconds),
            })
        };
        groups.into_iter().filter_map(share).collect()
    }

    /// The rules in order. Runs that drop nothing are part of every rule, so their own rule is left out.
    pub fn rules(&self) -> Vec<String> {
        let mut rules: Vec<String> =
            self.runs.iter().filter(|run| run.share > 0.0).map(|run| run.rule.clone()).collect();
        rules.sort();
        rules.dedup();
        rules
    }

    /// The fractions of a rule, including the runs that drop nothing.
    fn of_rule(&self, rule: &str) -> Vec<Share> {
        let mut shares: Vec<Share> = self
            .shares()
            .into_iter()
            .filter(|share| share.rule == rule || share.share == 0.0)
            .collect();
        shares.sort_by(|a, b| a.share.total_cmp(&b.share));
        shares
    }

    /// The knee of a rule: the largest fraction up to which no mean accuracy is more than one standard deviation below
    /// the runs that drop nothing. `None` without these runs, or without a standard deviation.
    pub fn knee(&self, rule: &str) -> Option<f64> {
        let shares = self.of_rule(rule);
        let none = shares.first().filter(|share| share.share == 0.0)?;
        let bound = none.accuracy.mean - none.accuracy.deviation?;
        let good = shares.iter().take_while(|share| share.accuracy.mean >= bound);
        good.last().map(|share| share.share)
    }

    /// Describes the figure in words.
    pub fn alt(&self) -> String {
        let shares: Vec<String> = self
            .shares()
            .iter()
            .map(|share| {
                let accuracy = format::accuracy(&share.accuracy);
                let share_text = format::percent_short(share.share);
                format!("{} {share_text}: accuracy {accuracy}", share.rule)
            })
            .collect();
        let significant: Vec<String> = self
            .by_step()
            .iter()
            .map(|(step, revival)| {
                format!("step {step}: {} significant", format::percent(revival.significant(), 2))
            })
            .collect();
        format!(
            "Charts of accuracy, and of gradient positions and step time relative to dropping none, against the fraction of pruned weights that is dropped, \
             and of the fraction of pruned weights that returns, by magnitude and by age. {}. {}.",
            shares.join("; "),
            significant.join("; ")
        )
    }

    /// The study as Markdown: a table of fates, a table of fractions, and the knees.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.fates.is_empty() {
            text += "| Pruned at step | Weights | Came back | Significant (kept at the end) |\n| ---: | ---: | ---: | ---: |\n";
            for (step, revival) in self.by_step() {
                text += &format!(
                    "| {step} | {} | {} | {} |\n",
                    format::count(revival.n_pruned as f64),
                    format::percent(revival.back(), 2),
                    format::percent(revival.significant(), 2)
                );
            }
            text += "\n";
        }
        text += "| Rule | φ | Test accuracy | Gradient positions | Time per step |\n| --- | ---: | ---: | ---: | ---: |\n";
        for share in self.shares() {
            let time = share.step_seconds.map_or(format::NOTHING.to_owned(), |seconds| {
                format!("{:.1} ms", 1e3 * seconds.mean)
            });
            text += &format!(
                "| {} | {} | {} | {} | {time} |\n",
                share.rule,
                format::percent_short(share.share),
                format::accuracy(&share.accuracy),
                format::percent(share.live.mean, 1),
            );
        }
        for rule in self.rules() {
            text += &match self.knee(&rule) {
                Some(knee) => format!(
                    "\nKnee of {rule}: φ = {}, the largest fraction within one standard deviation of dropping none.\n",
                    format::percent_short(knee)
                ),
                None => {
                    format!(
                        "\nKnee of {rule}: none, because it needs two seeds that drop nothing.\n"
                    )
                }
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{self, Screen};

    fn study() -> Study {
        let fate = |step, decile, age, n_pruned, n_back, n_kept| FateRow {
            step,
            decile,
            age,
            n_pruned,
            n_back,
            n_kept,
        };
        let mut runs = Vec::new();
        for (rule, share, accuracies) in [
            ("none", 0.0, [0.90, 0.92]),
            ("smallest", 0.5, [0.91, 0.91]),
            ("smallest", 0.9, [0.90, 0.90]),
            ("smallest", 1.0, [0.80, 0.82]),
            ("random", 0.5, [0.80, 0.80]),
            ("random", 0.9, [0.92, 0.92]),
        ] {
            for (seed, accuracy) in (0..).zip(accuracies) {
                let live = 0.02 + 0.98 * (1.0 - share);
                // Measured for one seed only.
                let step_seconds = (seed == 0).then_some(0.2 - 0.1 * share);
                runs.push(ShareRun {
                    rule: rule.into(),
                    share,
                    seed,
                    accuracy,
                    live,
                    step_seconds,
                });
            }
        }
        let fates = vec![
            fate(10, 0, 1, 100, 0, 0),
            fate(10, 9, 1, 50, 30, 10),
            fate(10, 9, 2, 50, 10, 0),
            fate(20, 9, 4, 10, 1, 1),
            fate(10, 0, 1, 100, 2, 0),
        ];
        Study { fates, runs }
    }

    #[test]
    fn fates_add_up_over_runs_by_what_is_asked() {
        let study = study();
        let by_decile = study.revival(|fate| fate.decile);
        assert_eq!(by_decile[&(10, 0)], Revival { n_pruned: 200, n_back: 2, n_kept: 0 });
        assert_eq!(by_decile[&(10, 9)].back(), 0.4);
        assert_eq!(study.revival(|fate| fate.age)[&(10, 2)].n_pruned, 50);
        let first = study.totals()[0];
        assert_eq!((first.step, first.decile, first.age), (10, 0, 1));
        assert_eq!([first.n_pruned, first.n_back, first.n_kept], [200, 2, 0]);
        assert_eq!(study.by_step()[&10].significant(), 10.0 / 300.0);
    }

    #[test]
    fn the_knee_is_the_last_share_before_the_first_loss() {
        let study = study();
        // 0.91 ± 0.0141: 0.8959 is the bound.
        assert_eq!(study.knee("smallest"), Some(0.9));
        // A good fraction after a bad one does not count.
        assert_eq!(study.knee("random"), Some(0.0));
        let alone =
            Study { runs: study.runs.iter().filter(|r| r.seed == 0).cloned().collect(), ..study };
        assert_eq!(alone.knee("smallest"), None);
    }

    #[test]
    fn the_tables_and_the_figure_say_what_was_measured() {
        let study = study();
        let text = study.markdown();
        for line in [
            "| 10 | 300 | 14.00 % | 3.33 % |",
            "| none | 0 % | 91.00 ± 1.41 % | 100.0 % | 200.0 ms |",
            "| smallest | 90 % | 90.00 ± 0.00 % | 11.8 % | 110.0 ms |",
            "Knee of smallest: φ = 90 %",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let svg = chart::file(Study::height(Screen::Wide), &study.alt(), |screen, area| {
            study.paint(screen, area)
        })
        .expect("draws");
        for words in [
            "Dropped fraction",
            "Positions / time (dashed), φ = 0: 100 %",
            "random",
            "Steps since pruned",
            "step 20",
            "0.9",
        ] {
            assert!(svg.contains(words), "{words}");
        }
        chart::draw(Study::height, |screen, area| study.paint(screen, area)).expect("draws");
    }

    #[test]
    fn a_study_of_nothing_draws_nothing() {
        let none = Study::default();
        assert!(chart::draw(Study::height, |screen, area| none.paint(screen, area)).is_ok());
        assert!(none.knee("smallest").is_none());
    }
}
