//! The common first part of every `manifest.json` in a results folder. Suites, benchmarks and studies write manifests.
//!
//! A results folder contains `manifest.json`, tables as CSV files, and `summary.md`. The results folder of a suite also
//! contains `report.html` and figures.

use crate::Machine;
use serde::{Deserialize, Serialize};

/// The kind of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultsKind {
    /// Training runs, collected by `taper suite run`.
    #[default]
    Suite,
    /// Measured times of `cargo xtask bench`.
    Bench,
    /// An analysis of many runs by `taper study`.
    Study,
}

impl ResultsKind {
    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Bench => "bench",
            Self::Study => "study",
        }
    }
}

/// The common first part of every manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestHead {
    /// Version of the manifest of this kind.
    pub schema: u32,
    /// The kind of results. Old manifests without this field are from suites.
    #[serde(default)]
    pub kind: ResultsKind,
    /// The title.
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
    /// The command that collected the results.
    pub command: String,
    /// Commit of the program, if known.
    pub commit: Option<String>,
    /// Whether the work tree differed from the commit.
    pub dirty: bool,
    /// The machine on which the command ran.
    pub machine: Machine,
    /// Versions of the tools.
    pub versions: ToolVersions,
}

/// Versions of the tools that made results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolVersions {
    /// Version of the compiler.
    pub rustc: Option<String>,
    /// Version of Taper.
    pub taper: Option<String>,
    /// Version of candle.
    pub candle: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_without_a_kind_is_from_a_suite() {
        let old = r#"{"schema":3,"suite":"quick","title":"T","date":"d","command":"c","commit":null,"dirty":false,
            "machine":{"os":"a","arch":"b","cpu":null,"cores":2,"memory_bytes":null},"versions":{"rustc":null,"taper":null,"candle":null}}"#;
        let head: ManifestHead = serde_json::from_str(old).expect("a manifest");
        assert_eq!((head.kind, head.title.as_str()), (ResultsKind::Suite, "T"));
        let text = serde_json::to_string(&ManifestHead { kind: ResultsKind::Bench, ..head });
        assert!(text.expect("JSON").contains(r#""kind":"bench","#));
    }
}
