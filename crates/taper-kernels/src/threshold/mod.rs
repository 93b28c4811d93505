//! The threshold operator and the gradient of its straight-through estimator.
//!
//! ```text
//! T(w; t) = sign(w)·(|w|^p − t^p)^(1/p)   for a kept weight
//!           0                             for a pruned one
//! ```
//!
//! A [`Mask`] decides which weights are kept, so ties at the threshold and masks held between mask updates need no rule
//! here. The derivative of T is never used: in the backward pass, kept weights receive the whole gradient and pruned
//! weights a fraction of it.
//!
//! # References
//! Feather (arXiv:2310.02448), equations 3 to 5.

mod cube_root;
mod exponent;

pub use exponent::{Exponent, ExponentError};

use crate::mask::{Mask, ones};
use rayon::prelude::*;

/// Weights per task, a multiple of 64.
const CHUNK: usize = 1 << 15;

/// Which threshold operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// `p = 1`: kept weights shrink by the whole threshold.
    Soft,
    /// `1 < p < ∞`: kept weights far above the threshold hardly shrink.
    Power(Exponent),
    /// `p → ∞`: kept weights do not shrink.
    Hard,
}

impl Threshold {
    /// Feather's operator, `p = 3`.
    pub const FEATHER: Self = Self::Power(Exponent::THREE);

    /// `T(w; t)` of one kept weight. If `|w| ≤ t`, which can happen with a held mask, it is 0, except with
    /// [`Hard`](Self::Hard).
    ///
    /// Computed with the ratio `t / |w|`: neither `|w|^p` nor `t^p` can underflow or overflow. At `t = 0` every
    /// operator is the identity. NaN stays NaN.
    pub fn apply(self, w: f32, t: f32) -> f32 {
        let magnitude = w.abs();
        if magnitude <= t && t > 0.0 && self != Self::Hard {
            return 0.0;
        }
        if t == 0.0 {
            return w;
        }
        match self {
            Self::Hard => w,
            Self::Soft => (magnitude - t).copysign(w),
            Self::Power(p) => {
                let ratio = f64::from(t) / f64::from(magnitude);
                let shrunk = if p == Exponent::THREE {
                    cube_root::cube_root(1.0 - ratio * ratio * ratio)
                } else {
                    let p = f64::from(p.get());
                    // (1 − ratio^p)^(1/p); two powers take twice as long.
                    let log = libm::log(-libm::expm1(p * libm::log(ratio)));
                    libm::exp(log / p)
                };
                ((f64::from(magnitude) * shrunk) as f32).copysign(w)
            }
        }
    }

    /// Writes `T(w; t)` to `out` for each weight that the mask keeps, and 0 for the others.
    ///
    /// # Panics
    /// If the lengths of `weights`, `mask` and `out` differ.
    pub fn forward(self, weights: &[f32], mask: &Mask, t: f32, out: &mut [f32]) {
        assert_eq!(weights.len(), out.len(), "weights and output differ in length");
        assert_eq!(weights.len(), mask.len(), "weights and mask differ in length");
        let chunks = out.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK));
        chunks.zip(mask.words().par_chunks(CHUNK / 64)).for_each(|((out, weights), words)| {
            out.fill(0.0);
            for (i, &word) in words.iter().enumerate() {
                for bit in ones(word) {
                    out[64 * i + bit] = self.apply(weights[64 * i + bit], t);
                }
            }
        });
    }
}

/// Scales the gradient of pruned weights in place. Gradients of kept weights do not change.
///
/// The factor of a pruned weight is `at_zero + (at_cut − at_zero)·min(|w|/t, 1)`, where `0/0` is 0.
///
/// # Panics
/// If the lengths of `weights`, `mask` and `grad` differ.
pub fn scale_pruned_grad(
    weights: &[f32],
    mask: &Mask,
    t: f32,
    at_zero: f32,
    at_cut: f32,
    grad: &mut [f32],
) {
    assert_eq!(weights.len(), grad.len(), "weights and gradient differ in length");
    assert_eq!(weights.len(), mask.len(), "weights and mask differ in length");
    let chunks = grad.par_chunks_mut(64).with_min_len(CHUNK / 64).zip(weights.par_chunks(64));
    chunks.zip(mask.words().par_iter()).for_each(|((grad, weights), &word)| {
        change_others(word, grad, |grad| {
            if at_zero == at_cut {
                grad.iter_mut().for_each(|g| *g *= at_zero);
            } else {
                let (least, most) = (at_zero.min(at_cut), at_zero.max(at_cut));
                for (&w, g) in weights.iter().zip(grad) {
                    // A quotient, since `1 / t` overflows if `t` is subnormal.
                    let share = if w == 0.0 { 0.0 } else { (w.abs() / t).min(1.0) };
                    // Rounding must not leave the range between the two ends.
                    *g *= (at_zero + (at_cut - at_zero) * share).clamp(least, most);
                }
            }
        });
    });
}

/// Zeroes the gradient of weights outside of the live set, in place.
///
/// # Panics
/// If the lengths of `live` and `grad` differ.
pub fn keep_live(live: &Mask, grad: &mut [f32]) {
    assert_eq!(live.len(), grad.len(), "mask and gradient differ in length");
    let chunks = grad.par_chunks_mut(64).with_min_len(CHUNK / 64);
    chunks.zip(live.words().par_iter()).for_each(|(grad, &word)| {
        change_others(word, grad, |grad| grad.fill(0.0));
    });
}

/// Changes a chunk of at most 64 values, except those at the set bits of `word`. If few bits are set, this is faster
/// than a test per value.
fn change_others(word: u64, chunk: &mut [f32], change: impl FnOnce(&mut [f32])) {
    let mut before = [0.0; 64];
    before[..chunk.len()].copy_from_slice(chunk);
    change(chunk);
    ones(word).for_each(|bit| chunk[bit] = before[bit]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_at_their_boundaries() {
        let p2 = Threshold::Power(Exponent::new(2.0).unwrap());
        assert_eq!(Threshold::Soft.apply(-3.0, 1.0), -2.0);
        assert_eq!(p2.apply(5.0, 4.0), 3.0);
        assert_eq!(p2.apply(-5.0, 4.0), -3.0);
        assert_eq!(Threshold::Hard.apply(-3.0, 1.0), -3.0);
        assert_eq!(Threshold::FEATHER.apply(1.0, 1.0), 0.0);
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        assert!(Threshold::FEATHER.apply(next, 1.0) > 0.0);
        for op in [Threshold::Soft, p2, Threshold::FEATHER, Threshold::Hard] {
            assert_eq!(op.apply(0.7, 0.0), 0.7, "{op:?} is the identity at a threshold of zero");
            assert!(op.apply(f32::NAN, 0.5).is_nan());
            assert_eq!(op.apply(f32::NEG_INFINITY, 0.5), f32::NEG_INFINITY);
        }
    }

    #[test]
    fn high_powers_of_tiny_weights_do_not_underflow() {
        let p8 = Threshold::Power(Exponent::new(8.0).unwrap());
        let out = p8.apply(2e-6, 1e-6);
        assert!((out - 2e-6 * (1.0 - 0.5f32.powi(8)).powf(0.125)).abs() < 1e-12);
    }

    #[test]
    fn the_mask_decides_not_the_magnitude() {
        let weights = [3.0, 1.0, -2.0];
        let mut mask = Mask::above(&weights, 1.5);
        let mut out = [9.0; 3];
        Threshold::Soft.forward(&weights, &mask, 1.5, &mut out);
        assert_eq!(out, [1.5, 0.0, -0.5]);
        mask = Mask::above(&[0.0, 1.0, 1.0], 0.5);
        Threshold::Hard.forward(&weights, &mask, 1.5, &mut out);
        assert_eq!(out, [0.0, 1.0, -2.0]);
    }

    #[test]
    fn gradients_of_pruned_weights_are_scaled_and_others_untouched() {
        let weights = [0.0f32, 0.5, -1.0, 2.0];
        let mask = Mask::above(&weights, 1.0);
        let mut grad = [1.0, 1.0, 1.0, 0.1];
        scale_pruned_grad(&weights, &mask, 1.0, 0.5, 0.5, &mut grad);
        assert_eq!(grad, [0.5, 0.5, 0.5, 0.1]);
        let mut grad = [1.0; 4];
        scale_pruned_grad(&weights, &mask, 1.0, 0.0, 1.0, &mut grad);
        assert_eq!(grad, [0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn the_factor_of_a_gradient_is_right_at_every_threshold() {
        let least = f32::from_bits(1);
        for t in [4.0 * least, f32::MIN_POSITIVE, 1e-30, 1.0, f32::MAX] {
            let weights = [0.0, -t / 4.0, t / 2.0, -t, t, 9.0];
            let mask = Mask::from_words(vec![0b10_0000], 6).unwrap();
            let mut grad = [1.0; 6];
            scale_pruned_grad(&weights, &mask, t, 0.25, 0.75, &mut grad);
            assert_eq!(grad, [0.25, 0.375, 0.5, 0.75, 0.75, 1.0], "threshold {t:e}");
        }
        // Pruned weights that are not 0 are above a threshold of 0.
        let mut grad = [1.0; 3];
        scale_pruned_grad(&[0.0, least, -1.0], &Mask::empty(3), 0.0, 0.25, 0.75, &mut grad);
        assert_eq!(grad, [0.25, 0.75, 0.75]);
    }
}
