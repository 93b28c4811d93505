//! Tables of measurements, and verdicts about their ratios.

use taper_suite::Verdict;

/// A table of measurements.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) notes: Vec<String>,
    /// Verdicts of the rows that are compared with a peer.
    pub(crate) verdicts: Vec<Verdict>,
}

impl Table {
    pub(crate) fn markdown(&self, title: &str) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("## {title}\n\n{}", line(&self.columns));
        text += &line(&vec!["---".to_owned(); self.columns.len()]);
        text.extend(self.rows.iter().map(|row| line(row)));
        for note in &self.notes {
            text += &format!("\n{note}\n");
        }
        text + "\n"
    }
}

/// Whether a ratio is at least its floor. NaN fails.
pub(crate) fn judge(what: &str, ratio: f64, floor: Option<f64>) -> Verdict {
    match floor {
        None => Verdict::NoBand,
        Some(floor) if ratio >= floor => Verdict::Pass,
        Some(floor) => Verdict::Fail(vec![format!("{what}: {ratio:.2} is below {floor}")]),
    }
}

/// Whether a number is at most its limit. NaN fails.
pub(crate) fn judge_most(what: &str, value: f64, limit: Option<f64>) -> Verdict {
    match limit {
        None => Verdict::NoBand,
        Some(limit) if value <= limit => Verdict::Pass,
        Some(limit) => Verdict::Fail(vec![format!("{what}: {value:.2} is above {limit}")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_by_its_floor() {
        assert_eq!(judge("step: a", 4.0, Some(4.0)), Verdict::Pass);
        assert_eq!(judge("step: a", 1.0, None), Verdict::NoBand);
        let missed = judge("step: a", 3.25, Some(4.0));
        assert_eq!(missed.reasons(), ["step: a: 3.25 is below 4"]);
        assert!(matches!(judge("step: a", f64::NAN, Some(4.0)), Verdict::Fail(_)));
    }

    #[test]
    fn a_number_is_judged_by_its_limit() {
        assert_eq!(judge_most("infer: a", 0.2, Some(0.2)), Verdict::Pass);
        assert_eq!(judge_most("infer: a", 9.0, None), Verdict::NoBand);
        let missed = judge_most("infer: a", 0.25, Some(0.2));
        assert_eq!(missed.reasons(), ["infer: a: 0.25 is above 0.2"]);
        assert!(matches!(judge_most("infer: a", f64::NAN, Some(0.2)), Verdict::Fail(_)));
    }
}
