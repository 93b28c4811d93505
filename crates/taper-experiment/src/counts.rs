//! Counts of kept weights and of operations, for records.

use taper::{
    core::Sparsity,
    record::result::{LayerResult, Totals},
    train::Analysis,
};

/// Totals over all layers, for `result.json`.
pub fn totals(analysis: &Analysis) -> Totals {
    Totals {
        sparsity: analysis.sparsity().get(),
        effective_sparsity: Some(analysis.effective_sparsity().get()),
        n_prunable: analysis.total(|l| l.info.n_weights()),
        n_kept: analysis.total(|l| l.n_kept),
        macs_dense: analysis.total(|l| l.macs_dense),
        macs_sparse: analysis.total(|l| l.macs_sparse),
    }
}

/// Counts of each layer, for `result.json`.
pub fn layers(analysis: &Analysis) -> Vec<LayerResult> {
    let layers = analysis.layers.iter().map(|l| LayerResult {
        name: l.info.name.clone(),
        kind: l.info.kind.name().into(),
        shape: l.info.shape.clone(),
        n_weights: l.info.n_weights(),
        n_kept: l.n_kept,
        n_effective: Some(l.n_effective),
        sparsity: Sparsity::of(l.n_kept, l.info.n_weights()).get(),
        macs_dense: l.macs_dense,
        macs_sparse: l.macs_sparse,
    });
    layers.collect()
}
