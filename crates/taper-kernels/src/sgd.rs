//! SGD with momentum and weight decay, in one pass.

use rayon::prelude::*;

/// The parameters of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Scales the gradient, for clipping.
    pub factor: f64,
    /// Weight decay; 0 for none.
    pub decay: f64,
    /// Momentum: the fraction of the velocity that is kept.
    pub momentum: f64,
    /// Dampening: the fraction of the gradient that does not enter the velocity.
    pub dampening: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
    /// Learning rate.
    pub lr: f64,
}

/// Weights per task.
pub(crate) const CHUNK: usize = 1 << 15;

/// Updates weights and their velocity:
///
/// ```text
/// g = factor·grad + decay·w
/// v ← momentum·v + (1 − dampening)·g
/// w ← w − lr·v                          (with `nesterov`: w − lr·(g + momentum·v))
/// ```
///
/// ```
/// use taper_kernels::sgd::{SgdStep, step};
/// let (mut w, mut v) = ([1.0], [0.5]);
/// let plain = SgdStep { factor: 0.5, decay: 0.25, momentum: 0.5, dampening: 0.0, nesterov: false, lr: 0.5 };
/// step(plain, &[1.0], &mut v, &mut w);
/// assert_eq!((w, v), ([0.5], [1.0]));
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn step(step: SgdStep, grad: &[f32], velocity: &mut [f32], weights: &mut [f32]) {
    match step.nesterov {
        true => moved::<true>(step, grad, velocity, weights),
        false => moved::<false>(step, grad, velocity, weights),
    }
}

fn moved<const NESTEROV: bool>(
    step: SgdStep,
    grad: &[f32],
    velocity: &mut [f32],
    weights: &mut [f32],
) {
    assert!(grad.len() == weights.len() && velocity.len() == weights.len(), "lengths differ");
    let SgdStep { factor, decay, momentum, dampening, lr, .. } = step;
    let [factor, decay, momentum, entering, lr] =
        [factor, decay, momentum, 1.0 - dampening, lr].map(|v| v as f32);
    let chunks = weights.par_chunks_mut(CHUNK).zip(velocity.par_chunks_mut(CHUNK));
    chunks.zip(grad.par_chunks(CHUNK)).for_each(|((weights, velocity), grad)| {
        for ((w, v), g) in weights.iter_mut().zip(velocity).zip(grad) {
            let g = factor * g + decay * *w;
            *v = momentum * *v + entering * g;
            *w -= lr * if NESTEROV { g + momentum * *v } else { *v };
        }
    });
}

/// Sum of the squares, in f64. The length alone decides the order of the sum, by lanes and chunks.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let of_chunk = |chunk: &[f32]| {
        let mut lanes = [0.0f64; 8];
        for eight in chunk.chunks(8) {
            for (lane, &v) in lanes.iter_mut().zip(eight) {
                *lane += f64::from(v) * f64::from(v);
            }
        }
        lanes.iter().sum::<f64>()
    };
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(of_chunk).collect();
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: SgdStep = SgdStep {
        factor: 1.0,
        decay: 0.0,
        momentum: 0.9,
        dampening: 0.0,
        nesterov: false,
        lr: 0.25,
    };

    #[test]
    fn chunks_join() {
        let n = 2 * CHUNK + 5;
        let (mut w, mut v, g) = (vec![1.0; n], vec![0.0; n], vec![2.0; n]);
        step(PLAIN, &g, &mut v, &mut w);
        assert!(w.iter().all(|&w| w == 0.5) && v == g);
        assert_eq!(sum_of_squares(&g), 4.0 * n as f64);
        assert!(sum_of_squares(&[f32::NAN]).is_nan());
    }

    #[test]
    fn dampening_and_nesterov_by_hand() {
        let one = |variant: SgdStep| {
            let (mut w, mut v) = ([1.0], [4.0]);
            step(SgdStep { decay: 0.5, momentum: 0.5, ..variant }, &[1.5], &mut v, &mut w);
            (w[0], v[0])
        };
        // The gradient with decay is 2, and half of the velocity stays.
        assert_eq!(one(PLAIN), (0.0, 4.0));
        assert_eq!(one(SgdStep { dampening: 0.5, ..PLAIN }), (0.25, 3.0));
        assert_eq!(one(SgdStep { nesterov: true, ..PLAIN }), (0.0, 4.0));
        let both = SgdStep { dampening: 0.5, nesterov: true, ..PLAIN };
        // 1 − (2 + 3 / 2) / 4
        assert_eq!(one(both), (0.125, 3.0));
    }
}
