//! What is measured: `benches/suites`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::suite::parse;

/// Networks at some sparsities.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Networks {
    pub(crate) model: String,
    pub(crate) batch: usize,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<Row>,
}

/// One line of a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) label: String,
    /// If it is another than the suite's.
    #[serde(default)]
    pub(crate) model: Option<String>,
    pub(crate) sparsity: f64,
    /// As the session takes it.
    #[serde(default)]
    pub(crate) update: Option<Value>,
    /// The least ratio to the peer that is accepted.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
}

/// Convolutions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernels {
    pub(crate) densities: Vec<f64>,
    #[serde(rename = "shape")]
    pub(crate) shapes: Vec<Shape>,
}

/// One of them; but for the label as the session takes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    #[serde(skip_serializing)]
    pub(crate) label: String,
    channels_in: usize,
    channels_out: usize,
    size: usize,
    kernel: usize,
    stride: usize,
    #[serde(default = "one")]
    groups: usize,
}

fn one() -> usize {
    1
}

/// Reads a suite of `benches/suites`.
///
/// # Errors
/// When there is none of that name, or it is not valid.
pub(crate) fn load<T: serde::de::DeserializeOwned>(root: &Path, name: &str) -> Result<T> {
    let path = root.join("benches/suites").join(format!("{name}.toml"));
    parse(&path).with_context(|| format!("suite {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suites_are_valid() {
        let root = crate::taper::repository();
        for name in ["step", "eval", "cut", "zoo"] {
            let suite: Networks = load(&root, name).expect("a valid suite");
            assert!(suite.rows.iter().all(|row| (0.0..1.0).contains(&row.sparsity)), "{name}");
        }
        let kernels: Kernels = load(&root, "kernels").expect("a valid suite");
        assert!(!kernels.shapes.is_empty() && !kernels.densities.is_empty());
    }
}
