//! What is measured: `benches/suites`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_report::format;

use taper_compose::parse;

/// The suite of compiled networks.
pub(crate) const INFER: &str = "infer";
/// The suite of pruning methods.
pub(crate) const METHODS: &str = "methods";
/// The suite of one run in several processes.
pub(crate) const RANKS: &str = "ranks";

/// Networks at some sparsities.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Networks {
    pub(crate) model: String,
    pub(crate) batch: usize,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<BenchRow>,
}

/// One line of a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BenchRow {
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

/// Compiled networks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compiled {
    /// So large a part of each floor is accepted where there is no AVX-512.
    pub(crate) share_without_avx512: f64,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<CompiledRow>,
}

/// One line of their table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompiledRow {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) sparsity: f64,
    pub(crate) batch: usize,
    pub(crate) threads: usize,
    /// The least ratio of onnxruntime's time to ours that is accepted.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
    /// The largest ratio of our memory to onnxruntime's that is accepted.
    #[serde(default)]
    pub(crate) memory: Option<f64>,
    /// The most seconds of compiling that are accepted.
    #[serde(default)]
    pub(crate) compile: Option<f64>,
}

/// Pruning methods.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Methods {
    pub(crate) model: String,
    pub(crate) batch: usize,
    /// Method of the row that the others are compared with.
    pub(crate) baseline: String,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<MethodRow>,
}

/// One line of their table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MethodRow {
    /// As the session takes it.
    pub(crate) method: String,
    pub(crate) label: String,
    pub(crate) sparsity: f64,
    /// The least ratio to the baseline's images per second that is accepted.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
}

impl BenchRow {
    /// What is measured, for people.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

impl RanksRow {
    /// What is measured, for people.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

impl MethodRow {
    /// What is measured, for people.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

impl CompiledRow {
    /// What is measured, for people.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

fn name(label: &str, sparsity: f64) -> String {
    format!("{label} at {}", format::percent_short(sparsity))
}

/// One run in several processes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InRanks {
    pub(crate) batch: usize,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<RanksRow>,
    pub(crate) scaling: Scaling,
}

/// A comparison of one process with two ranks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RanksRow {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) sparsity: f64,
    /// `prune.pruned_gradient` of an experiment.
    pub(crate) gradient: String,
    /// The least ratio of images per second that is accepted.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
}

/// What more ranks are computed from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scaling {
    /// Seconds that a message takes besides its bytes.
    pub(crate) latency: f64,
    #[serde(rename = "network")]
    pub(crate) networks: Vec<ScaledNetwork>,
}

/// A network, of which the step of a rank is measured for each number of ranks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaledNetwork {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) sparsity: f64,
    /// As the session takes it.
    pub(crate) update: Value,
    /// Images of a step of all ranks.
    pub(crate) batch: usize,
    /// Numbers of ranks, ascending.
    pub(crate) ranks: Vec<usize>,
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
    parse(&path, "suite").with_context(|| format!("suite {name}"))
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
        let compiled: Compiled = load(&root, INFER).expect("a valid suite");
        assert!(compiled.rows.iter().all(|row| (0.0..1.0).contains(&row.sparsity)));
        let methods: Methods = load(&root, METHODS).expect("a valid suite");
        assert!(methods.rows.iter().all(|row| (0.0..1.0).contains(&row.sparsity)));
        assert!(methods.rows.iter().any(|row| row.method == methods.baseline));
        let ranks: InRanks = load(&root, RANKS).expect("a valid suite");
        assert!(!ranks.rows.is_empty() && !ranks.scaling.networks.is_empty());
        let kernels: Kernels = load(&root, "kernels").expect("a valid suite");
        assert!(!kernels.shapes.is_empty() && !kernels.densities.is_empty());
    }
}
