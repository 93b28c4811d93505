//! Cross-entropy.

use candle_core::{D, Result, Tensor};

/// Mean cross-entropy of `logits` `[batch, classes]` and `labels` `[batch]`.
///
/// With `smoothing` ε in `[0, 1)`, the target gives the label 1 − ε and spreads ε evenly over all classes.
///
/// # Errors
/// If the shapes do not match.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let log_probabilities = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let hard = candle_nn::loss::nll(&log_probabilities, labels)?;
    if smoothing == 0.0 {
        return Ok(hard);
    }
    let even = log_probabilities.mean_all()?.neg()?;
    (hard * (1.0 - smoothing))? + (even * smoothing)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn smoothing_spreads_the_target() -> Result<()> {
        let logits = Tensor::new(&[[1.0f32, 0.0, -1.0]], &Device::Cpu)?;
        let labels = Tensor::new(&[0u32], &Device::Cpu)?;
        let log_sum = (1f64.exp() + 1.0 + (-1f64).exp()).ln();
        let loss = |smoothing| {
            cross_entropy(&logits, &labels, smoothing)?.to_scalar::<f32>().map(f64::from)
        };
        assert!((loss(0.0)? - (log_sum - 1.0)).abs() < 1e-6);
        assert!((loss(0.3)? - (0.7 * (log_sum - 1.0) + 0.3 * log_sum)).abs() < 1e-6);
        Ok(())
    }
}
