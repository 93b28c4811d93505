//! What a training loop has to do once a pruner has seen the gradients.

use taper_kernels::mask::Mask;

/// What a training loop has to do for a pruner before its optimizer moves the weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    /// The weights of each layer whose momentum, and whatever else an optimizer remembers of them, must go.
    pub forgotten: Option<Vec<Mask>>,
    /// What weights of each layer have as momentum from now on, after that; with an [`GrowInit`](crate::renewal::GrowInit) that has one.
    pub momentum: Option<Vec<Momentum>>,
    /// Whether the gradients served to choose masks, and must move nothing in this step.
    pub is_skipped: bool,
}

/// The momentum of some weights of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Momentum {
    /// The weights.
    pub weights: Mask,
    /// A momentum for each of them, in the order of their indices.
    pub values: Vec<f32>,
}
