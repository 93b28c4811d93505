//! The magnitude of a weight relative to its layer.

use super::{Criterion, View};
use std::borrow::Cow;

/// `|w| / σ` with `σ = 1/√(Σ of the shape)`, so that one cut of all layers does not empty those whose weights are small.
///
/// # References
/// Vanderschueren and De Vleeschouwer, "Are straight-through gradients and soft-thresholding all you need for sparse
/// training?" (arXiv:2212.01076): ST-3σ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaledMagnitude;

/// The spread of a layer's initial weights, as its shape says.
fn spread(layer: &View) -> f32 {
    let sum: usize = layer.info.shape.iter().sum();
    (1.0 / (sum as f64).sqrt()) as f32
}

impl Criterion for ScaledMagnitude {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        let spread = spread(layer);
        layer.weights.iter().map(|w| w / spread).collect()
    }

    fn magnitude(&self, layer: &View, score: f32) -> Option<f32> {
        Some(score * spread(layer))
    }
}
