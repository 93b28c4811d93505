//! AdamW: Adam with decoupled weight decay, in one pass.

use crate::sgd::CHUNK;
use rayon::prelude::*;

/// The parameters of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Scales the gradient, for clipping.
    pub factor: f64,
    /// Weight decay; 0 for none.
    pub decay: f64,
    /// β₁ and β₂: EMA coefficients of the first and the second moment, in `[0, 1)`.
    pub betas: [f64; 2],
    /// ε, added to the square root of the second moment.
    pub eps: f64,
    /// Learning rate.
    pub lr: f64,
    /// Number of the step, from 1.
    pub number: u64,
}

/// Numbers of a step that are equal for all weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// Factor of weight decay: 1 − lr·decay.
    pub left: f64,
    /// Learning rate divided by the bias correction of the first moment: lr / (1 − β₁ᵗ).
    pub rate: f64,
    /// Square root of the bias correction of the second moment: √(1 − β₂ᵗ).
    pub root: f64,
}

impl AdamWStep {
    /// Decay and bias corrections of this step.
    pub fn corrected(&self) -> Corrected {
        let [first, second] = self.betas.map(|beta| 1.0 - libm::pow(beta, self.number as f64));
        Corrected { left: 1.0 - self.lr * self.decay, rate: self.lr / first, root: second.sqrt() }
    }
}

/// Updates weights and the moments of their gradient:
///
/// ```text
/// g = factor·grad
/// m ← m + (1 − β₁)·(g − m)
/// v ← β₂·v + (1 − β₂)·g²
/// w ← (1 − lr·decay)·w − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)
/// ```
///
/// The first step moves each weight by almost lr, whatever its gradient:
///
/// ```
/// use taper_kernels::adamw::{AdamWStep, step};
/// let first = AdamWStep { factor: 1.0, decay: 0.0, betas: [0.9, 0.999], eps: 1e-8, lr: 0.25, number: 1 };
/// let (mut w, mut m, mut v) = ([1.0, 1.0], [0.0; 2], [0.0; 2]);
/// step(first, &[100.0, -0.01], &mut m, &mut v, &mut w);
/// assert!((w[0] - 0.75).abs() < 1e-6 && (w[1] - 1.25).abs() < 1e-6);
/// ```
///
/// Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101, in PyTorch's order of
/// operations.
///
/// # Panics
/// If the lengths differ.
pub fn step(
    step: AdamWStep,
    grad: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
    weights: &mut [f32],
) {
    let n = weights.len();
    assert!([grad.len(), mean.len(), square.len()].iter().all(|&len| len == n), "lengths differ");
    let Corrected { left, rate, root } = step.corrected();
    let AdamWStep { factor, betas: [beta1, beta2], eps, .. } = step;
    let [factor, entering1, beta2, entering2, eps, left, rate, root] =
        [factor, 1.0 - beta1, beta2, 1.0 - beta2, eps, left, rate, root].map(|v| v as f32);
    let chunks = weights.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
    let moments = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
    chunks.zip(moments).for_each(|((weights, grad), (mean, square))| {
        for (((w, g), m), v) in weights.iter_mut().zip(grad).zip(mean).zip(square) {
            let g = factor * g;
            *m += entering1 * (g - *m);
            *v = beta2 * *v + entering2 * (g * g);
            *w = left * *w - rate * (*m / (v.sqrt() / root + eps));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand_in_every_chunk() {
        let n = 2 * CHUNK + 5;
        let (mut w, mut m, mut v) = (vec![1.0f32; n], vec![0.0; n], vec![0.0; n]);
        let mut one = |grad: f32, number| {
            let betas = [0.5, 0.75];
            let each = AdamWStep { factor: 0.5, decay: 0.5, betas, eps: 1.0, lr: 0.5, number };
            step(each, &vec![grad; n], &mut m, &mut v, &mut w);
            assert!(w.iter().all(|&value| value == w[0]));
            (w[0], m[0], v[0])
        };
        // g = 2, m = 1, v = 1; 3/4 − (1/2)/(1/2)·1/(1/(1/2) + 1).
        let (w, m, v) = one(4.0, 1);
        assert_eq!((m, v), (1.0, 1.0));
        assert!((w - (0.75 - 1.0 / 3.0)).abs() < 1e-7);
        // g = 0, m = 1/2, v = 3/4; corrections of 3/4 and 7/16.
        let (next, m, v) = one(0.0, 2);
        assert_eq!((m, v), (0.5, 0.75));
        let wanted = 0.75 * f64::from(w)
            - 0.5 / 0.75 * 0.5 / (0.75f64.sqrt() / (7.0f64 / 16.0).sqrt() + 1.0);
        assert!((f64::from(next) - wanted).abs() < 1e-7);
    }
}
