//! What is kept, in counts.

use taper_core::{LayerInfo, Sparsity};

/// Counts of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The layer.
    pub info: LayerInfo,
    /// Its kept weights.
    pub n_kept: u64,
}

/// Counts of all prunable layers, from the masks of the last refresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The layers, in order.
    pub layers: Vec<LayerReport>,
}

impl Report {
    /// Weights in all layers.
    pub fn n_weights(&self) -> u64 {
        self.layers.iter().map(|l| l.info.n_weights()).sum()
    }

    /// Kept weights in all layers.
    pub fn n_kept(&self) -> u64 {
        self.layers.iter().map(|l| l.n_kept).sum()
    }

    /// Sparsity over all layers.
    pub fn sparsity(&self) -> Sparsity {
        Sparsity::of(self.n_kept(), self.n_weights())
    }
}
