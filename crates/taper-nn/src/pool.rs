//! Pooling.

use candle_core::{D, Result, Tensor};

/// Mean over the plane: `[batch, channels, height, width]` to `[batch, channels]`.
///
/// # Errors
/// If `x` has fewer than two dimensions.
pub fn global_average(x: &Tensor) -> Result<Tensor> {
    x.mean((D::Minus2, D::Minus1))
}
