//! Rank of a weight among the weights of its sign.

use super::{Criterion, View};
use std::borrow::Cow;

/// The fraction of the weights of a layer with the same sign that are not larger in magnitude, in `(0, 1]`; 0 for a
/// weight of 0.
///
/// With this criterion, prune-and-regrow of a fraction ζ removes the smallest ζ of the positive weights and the largest
/// ζ of the negative ones. Of equal magnitudes, the lower index ranks higher.
///
/// # References
/// Mocanu et al., "SET" (arXiv:1707.04780).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerSign;

impl Criterion for PerSign {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        let mut scores = vec![0.0; layer.weights.len()];
        for sign in [1.0f32, -1.0] {
            let of_sign = layer.weights.iter().enumerate().filter(|(_, w)| **w * sign > 0.0);
            let mut ranked: Vec<(usize, f32)> = of_sign.map(|(i, w)| (i, w.abs())).collect();
            // Stable sort: of ties, the lower index comes first.
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            let n = ranked.len();
            for (place, (index, _)) in ranked.into_iter().enumerate() {
                scores[index] = ((n - place) as f64 / n as f64) as f32;
            }
        }
        scores.into()
    }
}
