//! The benchmark suites in `benches/suites`.

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
/// The suite of training in several processes.
pub(crate) const RANKS: &str = "ranks";

/// A suite of networks at some sparsities.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Networks {
    pub(crate) model: String,
    pub(crate) batch: usize,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<BenchRow>,
}

/// One row of its table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BenchRow {
    pub(crate) label: String,
    /// The model, if it is not the suite's.
    #[serde(default)]
    pub(crate) model: Option<String>,
    pub(crate) sparsity: f64,
    /// The `update` of the request to `session.rs`.
    #[serde(default)]
    pub(crate) update: Option<Value>,
    /// Minimum ratio to the peer.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
}

/// The suite of compiled networks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compiled {
    /// Without AVX-512, each floor is multiplied by this factor.
    pub(crate) share_without_avx512: f64,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<CompiledRow>,
}

/// One row of its table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompiledRow {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) sparsity: f64,
    pub(crate) batch: usize,
    pub(crate) threads: usize,
    /// Minimum ratio of onnxruntime's time to Taper's.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
    /// Maximum ratio of Taper's memory to onnxruntime's.
    #[serde(default)]
    pub(crate) memory: Option<f64>,
    /// Maximum seconds from the file to the first run.
    #[serde(default)]
    pub(crate) compile: Option<f64>,
}

/// The suite of pruning methods.
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

/// One row of its table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MethodRow {
    /// The `method` of the request to `session.rs`.
    pub(crate) method: String,
    pub(crate) label: String,
    pub(crate) sparsity: f64,
    /// Minimum ratio to the baseline's images per second.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
}

impl BenchRow {
    /// The name of the row in messages.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

impl RanksRow {
    /// The name of the row in messages.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

impl MethodRow {
    /// The name of the row in messages.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

impl CompiledRow {
    /// The name of the row in messages.
    pub(crate) fn name(&self) -> String {
        name(&self.label, self.sparsity)
    }
}

fn name(label: &str, sparsity: f64) -> String {
    format!("{label} at {}", format::percent_short(sparsity))
}

/// The suite of training in several processes.
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
    /// Value of the configuration key `prune.pruned_gradient`.
    pub(crate) gradient: String,
    /// Minimum ratio of images per second.
    #[serde(default)]
    pub(crate) floor: Option<f64>,
}

/// Settings of the computed scaling to more ranks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scaling {
    /// Latency of a message in seconds.
    pub(crate) latency: f64,
    #[serde(rename = "network")]
    pub(crate) networks: Vec<ScaledNetwork>,
}

/// A network. For each number of ranks, the step of a rank is measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaledNetwork {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) sparsity: f64,
    /// The `update` of the request to `session.rs`.
    pub(crate) update: Value,
    /// Images in a step of all ranks together.
    pub(crate) batch: usize,
    /// Numbers of ranks, ascending.
    pub(crate) ranks: Vec<usize>,
}

/// The suite of single convolutions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernels {
    pub(crate) densities: Vec<f64>,
    #[serde(rename = "shape")]
    pub(crate) shapes: Vec<Shape>,
}

/// One convolution. Except for the label, the fields are those of the request to `session.rs`.
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
/// If there is no suite of that name, or it is not valid.
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
