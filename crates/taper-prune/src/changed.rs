//! What a training loop has to do once a pruner has seen the gradients.

use taper_kernels::mask::Mask;

/// What a training loop has to do for a pruner before its optimizer moves the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The weights of each layer whose momentum, and whatever else an optimizer remembers of them, must go.
    pub forgotten: Option<Vec<Mask>>,
    /// Whether the gradients served to choose masks, and must move nothing in this step.
    pub is_skipped: bool,
}
