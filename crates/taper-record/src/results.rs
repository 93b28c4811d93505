//! The begin of every `manifest.json` in a results folder, whoever wrote it: a suite, a bench, a study.
//!
//! A results folder has `manifest.json`, tables as CSV files, and `summary.md`; that of a suite has `report.html` and figures,
//! too.

use crate::Machine;
use serde::{Deserialize, Serialize};

/// What results are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultsKind {
    /// Training runs, gathered by `taper suite run`.
    #[default]
    Suite,
    /// Measured times, of `cargo xtask bench`.
    Bench,
    /// A question to many runs, of `taper study`.
    Study,
}

impl ResultsKind {
    /// As a manifest has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Bench => "bench",
            Self::Study => "study",
        }
    }
}

/// What every manifest begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestHead {
    /// Version of the files of this kind.
    pub schema: u32,
    /// What the results are of; in those of before it was said, of a suite.
    #[serde(default)]
    pub kind: ResultsKind,
    /// A heading.
    #[serde(default)]
    pub title: String,
    /// When, how and where they were made.
    #[serde(flatten)]
    pub made: Made,
}

/// When, how and where results were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// `YYYY-MM-DDTHH:MM:SSZ`.
    pub date: String,
    /// The command that gathered the results.
    pub command: String,
    /// Commit of its program, if it is known.
    pub commit: Option<String>,
    /// Whether the work tree differed from the commit.
    pub dirty: bool,
    /// The machine that gathered them.
    pub machine: Machine,
    /// Versions of what made the results.
    pub versions: ToolVersions,
}

/// Versions of what made results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolVersions {
    /// Of the compiler.
    pub rustc: Option<String>,
    /// Of the program.
    pub taper: Option<String>,
    /// Of candle.
    pub candle: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_before_kinds_is_that_of_a_suite() {
        let old = r#"{"schema":3,"suite":"quick","title":"T","date":"d","command":"c","commit":null,"dirty":false,
            "machine":{"os":"a","arch":"b","cpu":null,"cores":2,"memory_bytes":null},"versions":{"rustc":null,"taper":null,"candle":null}}"#;
        let head: ManifestHead = serde_json::from_str(old).expect("a manifest");
        assert_eq!((head.kind, head.title.as_str()), (ResultsKind::Suite, "T"));
        let text = serde_json::to_string(&ManifestHead { kind: ResultsKind::Bench, ..head });
        assert!(text.expect("JSON").contains(r#""kind":"bench","#));
    }
}
