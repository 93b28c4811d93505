//! Stochastic gradient descent with momentum and decay, in one pass.

use rayon::prelude::*;

/// What a step needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Scales the gradient, for clipping.
    pub factor: f64,
    /// Decay of the weights; 0 for none.
    pub decay: f64,
    /// Share of the velocity that is kept.
    pub momentum: f64,
    /// Learning rate.
    pub lr: f64,
}

/// Weights that a task moves.
const CHUNK: usize = 1 << 15;

/// Moves weights and their velocity:
///
/// ```text
/// v ← momentum·v + (factor·grad + decay·w)
/// w ← w − lr·v
/// ```
///
/// ```
/// use taper_kernels::sgd::{SgdStep, step};
/// let (mut w, mut v) = ([1.0], [0.5]);
/// step(SgdStep { factor: 0.5, decay: 0.25, momentum: 0.5, lr: 0.5 }, &[1.0], &mut v, &mut w);
/// assert_eq!((w, v), ([0.5], [1.0]));
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn step(step: SgdStep, grad: &[f32], velocity: &mut [f32], weights: &mut [f32]) {
    assert!(grad.len() == weights.len() && velocity.len() == weights.len(), "lengths differ");
    let SgdStep { factor, decay, momentum, lr } = step;
    let [factor, decay, momentum, lr] = [factor, decay, momentum, lr].map(|v| v as f32);
    let chunks = weights.par_chunks_mut(CHUNK).zip(velocity.par_chunks_mut(CHUNK));
    chunks.zip(grad.par_chunks(CHUNK)).for_each(|((weights, velocity), grad)| {
        for ((w, v), g) in weights.iter_mut().zip(velocity).zip(grad) {
            *v = momentum * *v + (factor * g + decay * *w);
            *w -= lr * *v;
        }
    });
}

/// Sum of the squares, in f64: lane by lane and in chunks, in an order that the length alone decides.
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

    #[test]
    fn chunks_join() {
        let n = 2 * CHUNK + 5;
        let (mut w, mut v, g) = (vec![1.0; n], vec![0.0; n], vec![2.0; n]);
        step(SgdStep { factor: 1.0, decay: 0.0, momentum: 0.9, lr: 0.25 }, &g, &mut v, &mut w);
        assert!(w.iter().all(|&w| w == 0.5) && v == g);
        assert_eq!(sum_of_squares(&g), 4.0 * n as f64);
        assert!(sum_of_squares(&[f32::NAN]).is_nan());
    }
}
