//! Movement pruning: whether weights move away from 0.

use super::{Criterion, View, of_both};
use std::borrow::Cow;

/// `−Σ w·g` over all steps. A weight that its gradient makes larger ranks high, and a weight that shrinks ranks low,
/// whatever its magnitude. Weights with the largest sum are kept.
///
/// All criteria rank by the magnitude of their scores. The scores here are therefore non-negative numbers in the order
/// of the sums; only this order has a meaning. Do not combine movement with [`Normalised`](super::Normalised).
///
/// # References
/// Sanh et al., "Movement Pruning" (arXiv:2005.07683), where scores change by the learning rate times `−w·g`. A
/// constant learning rate does not change the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement;

/// Maps a sum to a non-negative number and preserves the order; two neighbouring floats map to the same number. NaN
/// maps to 0, like the smallest sum.
fn ranked(sum: f32) -> f32 {
    if sum.is_nan() {
        return 0.0;
    }
    let sum = sum.clamp(f32::MIN, f32::MAX);
    // Positive floats have the order of their bits, negative floats the opposite order.
    let bits = sum.to_bits();
    let place = if sum.is_sign_negative() { !bits } else { bits | 1 << 31 };
    f32::from_bits((place - !f32::MIN.to_bits()) >> 1)
}

impl Criterion for Movement {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |_, sum| ranked(sum))
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, memory: &mut [f32], layer: &View) {
        let gradient = layer.gradient.unwrap_or_default();
        for ((sum, weight), grad) in memory.iter_mut().zip(layer.weights).zip(gradient) {
            *sum = weight.mul_add(-grad, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{remembered, scores};
    use super::*;

    #[test]
    fn weights_that_grow_are_worth_more_than_those_that_shrink() {
        let (weights, gradients) =
            ([&[2.0, -2.0][..], &[1.0, -3.0]], [&[1.0, 1.0][..], &[0.5, 2.0]]);
        let memory = remembered(&Movement, &weights, &gradients);
        assert_eq!(memory, [-2.5, 8.0]);
        let found = scores(&Movement, weights[1], &memory, 0);
        assert!(found[1] > found[0] && found[0] > 0.0, "{found:?}");
    }

    #[test]
    fn scores_are_in_the_order_of_the_sums() {
        let sums = [f32::NEG_INFINITY, f32::MIN, -1.0, -f32::MIN_POSITIVE, -1e-45, 0.0];
        let sums = sums.into_iter().chain([1e-44, f32::MIN_POSITIVE, 1e-8, 1.0, 2.0, f32::MAX]);
        let ranks: Vec<f32> = sums.map(ranked).collect();
        assert!(ranks.is_sorted() && ranks.iter().all(|rank| rank.is_finite()), "{ranks:?}");
        assert_eq!((ranks[0], ranks[1], ranks[11]), (0.0, 0.0, f32::MAX));
        assert_eq!([f32::NAN, -f32::NAN].map(ranked), [0.0; 2]);
        let distinct = ranks[1..].windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!(distinct >= 9, "{ranks:?}");
    }
}
