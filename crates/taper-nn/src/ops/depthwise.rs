//! Depthwise convolution, composed of candle's operations.
//!
//! Candle's own convolution runs group by group, thousands of times in a step of a depthwise network. Here a layer is
//! one product and one sum for each position in the kernel. Candle stores both for the backward pass.

use candle_core::{Error, Result, Tensor};
use taper_kernels::conv::ConvShape;

/// Convolves `x` `[batch, channels, height, width]` with `weight` `[out, 1, kernel, kernel]`, where `out` is a multiple of
/// the channels.
pub(super) fn conv2d(x: &Tensor, weight: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let ConvShape { batch, groups, padding, stride, dilation, .. } = *shape;
    let (rows, columns) = shape.out_size().unwrap_or_default();
    let padded = x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
    let mut sum: Option<Tensor> = None;
    for ky in 0..shape.kernel.0 {
        let lines = every(&padded, 2, ky * dilation, stride, rows)?;
        for kx in 0..shape.kernel.1 {
            let pixels = every(&lines, 3, kx * dilation, stride, columns)?.unsqueeze(2)?;
            let weight = weight.narrow(2, ky, 1)?.narrow(3, kx, 1)?;
            // Several output channels may read one input channel.
            let part = pixels.broadcast_mul(&weight.reshape((1, groups, (), 1, 1))?)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
    }
    let sum = sum.ok_or_else(|| Error::Msg("conv2d: the kernel has no weights".into()))?;
    sum.reshape((batch, shape.channels_out, rows, columns))
}

/// `n` rows or columns, from `first` on with a distance of `stride`.
fn every(x: &Tensor, dim: usize, first: usize, stride: usize, n: usize) -> Result<Tensor> {
    if stride == 1 {
        return x.narrow(dim, first, n);
    }
    let at = |i| u32::try_from(first + i * stride).map_err(Error::wrap);
    let at: Vec<u32> = (0..n).map(at).collect::<Result<_>>()?;
    x.index_select(&Tensor::new(at, x.device())?, dim)
}
