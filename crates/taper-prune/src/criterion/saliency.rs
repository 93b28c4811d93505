//! First-order change of the loss without a weight.

use super::{Criterion, View, of_both};
use std::borrow::Cow;

/// `|w·g|`: the first-order change of the loss if the weight becomes 0.
///
/// # References
/// Lee et al., "SNIP" (arXiv:1810.02340).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saliency;

impl Criterion for Saliency {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |w, g| w * g)
    }

    fn needs_gradient(&self) -> bool {
        true
    }
}
