//! Gradient magnitude.

use super::{Criterion, View, of_both};
use std::borrow::Cow;

/// `|g|`: how fast the loss falls, to first order, if a pruned weight moves away from 0.
///
/// # References
/// Evci et al., "Rigging the Lottery" (arXiv:1911.11134): the growth criterion of RigL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gradient;

impl Criterion for Gradient {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |_, g| g)
    }

    fn needs_gradient(&self) -> bool {
        true
    }
}
