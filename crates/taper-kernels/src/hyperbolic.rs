//! The hyperbolic step of HAM, in one pass.

use crate::sgd::CHUNK;
use rayon::prelude::*;

/// The parameters of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HyperbolicStep {
    /// Scales the gradient, for clipping.
    pub factor: f64,
    /// α: weight of the gradient.
    pub alpha: f64,
    /// β: decay towards 0.
    pub beta: f64,
    /// Learning rate.
    pub lr: f64,
}

impl HyperbolicStep {
    /// The numbers `of_grad` = lr·α·factor and `of_decay` = lr·β: the exponent is `−of_grad·sign(w)·grad − of_decay`.
    pub fn exponents(&self) -> [f64; 2] {
        [self.lr * self.alpha * self.factor, self.lr * self.beta]
    }
}

/// Multiplies each weight by a factor. No weight changes its sign, and 0 stays 0:
///
/// ```text
/// w ← w·exp(lr·(−α·sign(w)·factor·grad − β))
/// ```
///
/// ```
/// use taper_kernels::hyperbolic::{HyperbolicStep, step};
/// let mut w = [1.0, -1.0, 0.0];
/// step(HyperbolicStep { factor: 1.0, alpha: 2.0, beta: 0.0, lr: 0.5 }, &[1.0; 3], &mut w);
/// let e = std::f32::consts::E;
/// assert!((w[0] - 1.0 / e).abs() < 1e-6 && (w[1] + e).abs() < 1e-6 && w[2] == 0.0);
/// ```
///
/// Source: Jacobs et al., Hyperbolic Aware Minimization, arXiv:2506.02630.
///
/// # Panics
/// If the lengths differ.
pub fn step(step: HyperbolicStep, grad: &[f32], weights: &mut [f32]) {
    assert_eq!(grad.len(), weights.len(), "lengths differ");
    let [of_grad, of_decay] = step.exponents().map(|v| v as f32);
    weights.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).for_each(|(weights, grad)| {
        for (w, g) in weights.iter_mut().zip(grad).filter(|(w, _)| **w != 0.0) {
            *w *= libm::expf(-of_grad * w.signum() * g - of_decay);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_and_zeros_stay() {
        let n = 2 * CHUNK + 5;
        let mut w: Vec<f32> = (0..n).map(|i| (i % 3) as f32 - 1.0).collect();
        // A weight of 0 stays 0, even if the factor is infinite.
        let each = HyperbolicStep { factor: 0.5, alpha: 200.0, beta: 2.0, lr: 0.5 };
        step(each, &vec![-1e9; n], &mut w);
        assert!(w.iter().skip(1).step_by(3).all(|&w| w == 0.0));
        assert!(w.iter().skip(2).step_by(3).all(|&w| w == f32::INFINITY));
        assert!(w.iter().step_by(3).all(|&w| w == 0.0));
    }

    #[test]
    fn values_by_hand() {
        let mut w = [0.5, -0.25];
        let each = HyperbolicStep { factor: 0.5, alpha: 4.0, beta: 1.0, lr: 0.25 };
        step(each, &[1.0, 1.0], &mut w);
        // 0.25·(−4·0.5 − 1) and 0.25·(4·0.5 − 1)
        assert!((f64::from(w[0]) - 0.5 * (-0.75f64).exp()).abs() < 1e-7);
        assert!((f64::from(w[1]) + 0.25 * 0.25f64.exp()).abs() < 1e-7);
    }
}
