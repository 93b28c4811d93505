//! Gates: a gate defines which weights of a layer are kept, and the gradient of the pruned weights.

use std::sync::Arc;
use taper_core::LayerId;
use taper_kernels::{mask::Mask, threshold::Threshold};

/// An unbiased estimate of the gradient of pruned weights. It is computed from a sample of the batch's blocks of
/// sixteen images, and scaled by the number of blocks over the number of sampled blocks. If more than half of the
/// weights are kept, or the batch is small, the gradient is exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Fraction of the blocks, in `(0, 1]`.
    pub share: f64,
    /// Key of the random choice of blocks. With one key for all layers of a step, they use the same images.
    pub key: u64,
}

/// The value of a kept weight.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The threshold operator, applied to the weight with the gate's `cut`.
    Threshold(Threshold),
    /// A value for each weight of the layer, in row-major order. Values of pruned weights have no effect. They are f32
    /// for weights of any type.
    Given(Arc<Vec<f32>>),
}

impl From<Threshold> for Value {
    fn from(threshold: Threshold) -> Self {
        Self::Threshold(threshold)
    }
}

/// How one layer's weight is pruned in this step.
///
/// The mask decides which weights are kept. `cut` only determines how far a threshold operator shrinks the kept
/// weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The value of kept weights.
    pub value: Value,
    /// Magnitude threshold, at least 0. It is below the magnitude of every weight that a fresh mask keeps, and usually
    /// equals the magnitude of the largest pruned weight. If weights of that magnitude are kept as well, it is the next
    /// smaller magnitude of a weight: the operator then does not shrink the kept weights to 0.
    pub cut: f32,
    /// The kept weights, in row-major order.
    pub mask: Arc<Mask>,
    /// The live set: the weights that receive a gradient. It contains all kept weights; `None` for all weights. A small
    /// live set makes the backward pass fast.
    pub live: Option<Arc<Mask>>,
    /// Estimates the gradient of pruned weights, if set. The gradient of kept weights is always exact.
    pub sampling: Option<Sampling>,
    /// Factor on the gradient of a pruned weight of magnitude 0, at least 0.
    pub grad_at_zero: f32,
    /// Factor on the gradient of a pruned weight of magnitude `cut`, at least 0. Between 0 and `cut` the factor is
    /// linear in the magnitude.
    pub grad_at_cut: f32,
}

impl Gate {
    /// The pruned weight: the value of each kept weight, 0 elsewhere.
    ///
    /// # Panics
    /// If `weights`, given values and the mask differ in length.
    pub fn apply(&self, weights: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; weights.len()];
        match &self.value {
            Value::Threshold(threshold) => {
                threshold.forward(weights, &self.mask, self.cut, &mut out);
            }
            // The hard operator returns the value unchanged.
            Value::Given(values) => Threshold::Hard.forward(values, &self.mask, 0.0, &mut out),
        }
        out
    }

    /// Turns the gradient of the pruned weight into the gradient of the dense weight, in place.
    ///
    /// # Panics
    /// If `weights`, the mask, the live set and `grad` differ in length.
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

/// The gates of a model. A layer without a gate runs dense.
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
