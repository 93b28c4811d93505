//! Clipping of the gradient's norm.

use candle_core::{Result, backprop::GradStore};
use taper_nn::{Params, ops::sum_of_squares};

/// L2 norm over the gradients of all trained parameters, each squared sum in f64 and in registry order.
///
/// # Errors
/// If a gradient cannot be read from its device.
pub fn global_norm(params: &Params, grads: &GradStore) -> Result<f64> {
    let mut squares = 0.0;
    for (entry, _) in params.trained() {
        if let Some(grad) = grads.get(&entry.var) {
            squares += sum_of_squares(grad)?;
        }
    }
    Ok(squares.sqrt())
}

/// Factor that brings a gradient of norm `norm` down to `max`: `min(1, max / (norm + 1e-6))`.
pub fn clip_factor(norm: f64, max: f64) -> f64 {
    (max / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_gradients_are_clipped() {
        assert_eq!(clip_factor(2.0, 3.0), 1.0);
        assert!((clip_factor(30.0, 3.0) - 0.1).abs() < 1e-8);
    }
}
