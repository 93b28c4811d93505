//! Sparsities of cells.

/// Two sparsities closer than this are the same cell, even if they come from different files.
const SAME: f64 = 1e-9;

/// Whether two cells have the same sparsity, or both have none.
pub(crate) fn same_sparsity(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < SAME,
        (a, b) => a.is_none() && b.is_none(),
    }
}
