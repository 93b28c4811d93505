//! What a training loop must do after a pruner has processed the gradients.

use taper_kernels::mask::Mask;

/// What a training loop must do before its optimizer updates the weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    /// The weights of each layer for which the optimizer must reset its state, such as momentum.
    pub forgotten: Option<Vec<Mask>>,
    /// Momentum to set after that for some weights of each layer, if [`GrowInit`](crate::renewal::GrowInit) has a
    /// momentum.
    pub momentum: Option<Vec<Momentum>>,
    /// Whether the optimizer must skip this step: its gradients were used to choose masks.
    pub is_skipped: bool,
}

/// New momentum of some weights of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Momentum {
    /// The weights.
    pub weights: Mask,
    /// One momentum for each of them, in index order.
    pub values: Vec<f32>,
}
