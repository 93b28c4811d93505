//! ReLU and its gradient.
//!
//! The gradient at exactly 0 is 0, as in PyTorch. This matters to sparse networks: all outputs of a filter without
//! weights are equal, and they are 0 if its bias is 0.

use rayon::prelude::*;

/// Values per task: enough to make the cost of the split negligible.
const CHUNK: usize = 1 << 14;

/// `out = x` where `x > 0`, else 0. NaN stays NaN.
///
/// ```
/// let mut out = [9.0; 3];
/// taper_kernels::relu::forward(&[-1.0, 0.0, 2.0], &mut out);
/// assert_eq!(out, [0.0, 0.0, 2.0]);
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn forward(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output differ in length");
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = if x <= 0.0 { 0.0 } else { x };
        }
    });
}

/// Gradient of the input, from the output and its gradient: `grad` where `out > 0` or `out` is NaN, else 0.
///
/// # Panics
/// If the lengths differ.
pub fn backward(out: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    assert!(out.len() == grad_out.len() && out.len() == grad_x.len(), "lengths differ");
    let chunks =
        grad_x.par_chunks_mut(CHUNK).zip(out.par_chunks(CHUNK)).zip(grad_out.par_chunks(CHUNK));
    chunks.for_each(|((grad_x, out), grad_out)| {
        for ((grad_x, &out), &grad) in grad_x.iter_mut().zip(out).zip(grad_out) {
            *grad_x = if out <= 0.0 { 0.0 } else { grad };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_at_zero_is_zero_and_nan_propagates() {
        let x = [-1.0, -0.0, 0.0, 1e-30, 2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let mut out = [9.0; 8];
        forward(&x, &mut out);
        assert_eq!(out[..5], [0.0, 0.0, 0.0, 1e-30, 2.0]);
        assert!(out[5].is_nan() && out[6] == f32::INFINITY && out[7] == 0.0);
        let mut grad = [9.0; 8];
        backward(&out, &[3.0; 8], &mut grad);
        assert_eq!(grad, [0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 3.0, 0.0]);
    }

    #[test]
    fn chunks_join() {
        let x: Vec<f32> = (0..3 * CHUNK + 7).map(|i| (i as f32).sin()).collect();
        let mut out = vec![9.0; x.len()];
        forward(&x, &mut out);
        assert!(x.iter().zip(&out).all(|(x, out)| *out == x.max(0.0)));
    }
}
