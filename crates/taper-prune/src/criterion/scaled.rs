//! Magnitude relative to the standard deviation of the layer.

use super::{Criterion, View};
use std::borrow::Cow;

/// `|w| / σ` with `σ = 1/√(Σ of the shape)`: a global threshold then does not empty layers with small weights.
///
/// # References
/// Vanderschueren and De Vleeschouwer, "Are straight-through gradients and soft-thresholding all you need for sparse
/// training?" (arXiv:2212.01076): ST-3σ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaledMagnitude;

/// The standard deviation of a layer's initial weights, from its shape.
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
