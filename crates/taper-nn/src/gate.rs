//! What a pruner hands to a layer: which weights to keep, and how the others learn.

use std::sync::Arc;
use taper_core::LayerId;
use taper_kernels::{mask::Mask, threshold::Threshold};

/// An estimate of the gradient of pruned weights, from some of the batch's blocks of sixteen images, times their number
/// over that of those: without bias. Where more than half of the weights are kept, or the batch is small, the gradient
/// is exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Share of the blocks, in `(0, 1]`.
    pub share: f64,
    /// Decides which; one key for all layers of a step lets them see the same images.
    pub key: u64,
}

/// What the value of a kept weight is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The threshold operator of the weight, which shrinks it by the gate's cut.
    Threshold(Threshold),
    /// A value for each weight of the layer, in row-major order; those of pruned weights have no effect. Whatever the type of
    /// the weight, these are f32.
    Given(Arc<Vec<f32>>),
}

impl From<Threshold> for Value {
    fn from(threshold: Threshold) -> Self {
        Self::Threshold(threshold)
    }
}

/// How one layer's weight is pruned in this step.
///
/// The mask is the decision; `cut` only says how far a threshold operator shrinks what is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The value of kept weights.
    pub value: Value,
    /// The largest magnitude below all that a fresh mask keeps, at least 0. It is that of the largest pruned weight,
    /// except where weights of this magnitude are kept as well: the operator then leaves them above 0.
    pub cut: f32,
    /// The kept weights, in row-major order.
    pub mask: Arc<Mask>,
    /// The weights that get a gradient, all kept ones among them; `None` for all weights. Few of them make a backward
    /// pass fast.
    pub live: Option<Arc<Mask>>,
    /// Whether the gradient of pruned weights is only estimated; that of kept ones is exact.
    pub sampling: Option<Sampling>,
    /// Factor on the gradient of a pruned weight of magnitude 0, at least 0.
    pub grad_at_zero: f32,
    /// Factor on the gradient of a pruned weight whose magnitude is the cut, at least 0.
    pub grad_at_cut: f32,
}

impl Gate {
    /// The pruned weight: the value of what is kept, 0 elsewhere.
    ///
    /// # Panics
    /// If `weights`, given values and the mask differ in length.
    pub fn apply(&self, weights: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; weights.len()];
        match &self.value {
            Value::Threshold(threshold) => {
                threshold.forward(weights, &self.mask, self.cut, &mut out);
            }
            // Hard is the value itself.
            Value::Given(values) => Threshold::Hard.forward(values, &self.mask, 0.0, &mut out),
        }
        out
    }

    /// Turns the gradient of the pruned weight into that of the dense one, in place.
    ///
    /// # Panics
    /// If `weights`, the mask and `grad` differ in length.
    pub fn scale_grad(&self, weights: &[f32], grad: &mut [f32]) {
        taper_kernels::threshold::scale_pruned_grad(
            weights,
            &self.mask,
            self.cut,
            self.grad_at_zero,
            self.grad_at_cut,
            grad,
        );
        if let Some(live) = &self.live {
            taper_kernels::threshold::keep_live(live, grad);
        }
    }
}

/// A gate for each prunable layer that has one; a layer without runs dense.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates(Vec<Option<Gate>>);

impl Gates {
    /// No gates: every layer runs dense.
    pub const NONE: Self = Self(Vec::new());

    /// Gates by layer, in the order of [`Params::layers`](crate::Params::layers).
    pub fn new(gates: Vec<Option<Gate>>) -> Self {
        Self(gates)
    }

    /// The gate of a layer.
    pub fn get(&self, layer: LayerId) -> Option<&Gate> {
        self.0.get(layer.0)?.as_ref()
    }
}
