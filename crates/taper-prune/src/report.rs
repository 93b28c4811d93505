//! What is kept, in counts.

use taper_core::{LayerInfo, Sparsity};

/// Counts of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The layer.
    pub info: LayerInfo,
    /// Its weights that are not 0 once pruned.
    pub n_kept: u64,
    /// Its weights that were dropped for good.
    pub n_dropped: u64,
    /// Its filters: output channels of a convolution, transposed or not; a linear layer has none.
    pub n_filters: u64,
    /// Its filters that have lost every weight.
    pub n_dead_filters: u64,
}

/// Counts of all prunable layers, as the gates of a step or of an evaluation leave them.
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

    /// Dropped weights in all layers.
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
