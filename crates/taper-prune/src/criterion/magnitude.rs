//! Weight magnitude.

use super::{Criterion, View};
use std::borrow::Cow;

/// `|w|`: the criterion of Feather, gradual magnitude pruning, and straight-through top-k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Magnitude;

impl Criterion for Magnitude {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        layer.weights.into()
    }

    fn magnitude(&self, _: &View, score: f32) -> Option<f32> {
        Some(score)
    }
}
