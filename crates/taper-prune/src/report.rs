//! Counts of kept weights.

use taper_core::{LayerInfo, Sparsity};

/// Counts of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The layer.
    pub info: LayerInfo,
    /// Number of its weights that are not 0 after pruning.
    pub n_kept: u64,
    /// Number of its permanently pruned weights.
    pub n_dropped: u64,
    /// Number of its filters: output channels of a convolution, transposed or not; 0 for a linear layer.
    pub n_filters: u64,
    /// Number of its dead filters: filters without a kept weight.
    pub n_dead_filters: u64,
}

/// Counts of all prunable layers, after applying the gates of a step or of an evaluation.
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

    /// Permanently pruned weights in all layers.
    pub fn n_dropped(&self) -> u64 {
        self.layers.iter().map(|l| l.n_dropped).sum()
    }

    /// Filters in all layers.
    pub fn n_filters(&self) -> u64 {
        self.layers.iter().map(|l| l.n_filters).sum()
    }

    /// Dead filters in all layers.
    pub fn n_dead_filters(&self) -> u64 {
        self.layers.iter().map(|l| l.n_dead_filters).sum()
    }

    /// Sparsity over all layers.
    pub fn sparsity(&self) -> Sparsity {
        Sparsity::of(self.n_kept(), self.n_weights())
    }
}
