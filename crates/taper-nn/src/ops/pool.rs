//! Pooling on tensors, composed of candle's operations.
//!
//! Candle's own average pooling gives a gradient to pixels that no window reads, and its max pooling spreads the
//! gradient over all pixels that equal the largest.

use super::types::wide;
use candle_core::{Error, Result, Tensor};
use taper_kernels::pool::MaxWindows;

/// Average pooling; see [`super::average`].
pub(super) fn average(x: &Tensor, size: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (rows, columns) = (height / size, width / size);
    let read = wide(x)?.narrow(2, 0, rows * size)?.narrow(3, 0, columns * size)?;
    let windows = read.reshape((batch, channels, rows, size, columns, size))?;
    // Pixel by pixel, because the order of candle's own sums depends on the instruction set.
    let pixel = |i: usize| windows.narrow(3, i / size, 1)?.narrow(5, i % size, 1);
    let sum = (1..size * size).try_fold(pixel(0)?, |sum, i| sum + pixel(i)?)?;
    let mean = (sum * (1.0 / (size * size) as f64))?;
    mean.reshape((batch, channels, rows, columns))?.to_dtype(x.dtype())
}

/// Max pooling to `sizes` rows and columns; see [`MaxWindows`].
///
/// Pixels are gathered by their positions in the plane, so each gradient goes to exactly one pixel.
pub(super) fn maximum(x: &Tensor, windows: MaxWindows, sizes: [usize; 2]) -> Result<Tensor> {
    at_largest(x, x, windows, sizes)
}

/// The pixels of `x` at the positions where `values`, of the same shape, is largest in each window.
pub(super) fn at_largest(
    x: &Tensor,
    values: &Tensor,
    windows: MaxWindows,
    sizes: [usize; 2],
) -> Result<Tensor> {
    let (batch, channels, ..) = x.dims4()?;
    let [rows, columns] = sizes;
    let wide = wide(x)?.flatten(2, 3)?;
    let positions = positions_of_largest(&values.detach(), windows, sizes)?.flatten(2, 3)?;
    let largest = wide.contiguous()?.gather(&positions.contiguous()?, 2)?;
    largest.reshape((batch, channels, rows, columns))?.to_dtype(x.dtype())
}

/// For each window, the position in the plane of its first largest pixel, or of its first NaN.
fn positions_of_largest(x: &Tensor, windows: MaxWindows, sizes: [usize; 2]) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let MaxWindows { size, stride, padding } = windows;
    // Instead of padding, a window at the edge reads the outermost pixels several times. These pixels are in the window
    // in any case, so the first largest pixel is the same.
    let read = |windows: usize, by: usize, n: usize| -> Vec<usize> {
        (0..windows).map(|i| (i * stride + by).saturating_sub(padding).min(n - 1)).collect()
    };
    let mut found: Option<(Tensor, Tensor)> = None;
    for dy in 0..size {
        let rows = read(sizes[0], dy, height);
        let lines = x.index_select(&indices(&rows, x)?, 2)?;
        for dx in 0..size {
            let columns = read(sizes[1], dx, width);
            let pixels = lines.index_select(&indices(&columns, x)?, 3)?;
            let at: Vec<usize> =
                rows.iter().flat_map(|row| columns.iter().map(move |c| row * width + c)).collect();
            let at = indices(&at, x)?.reshape((1, 1, sizes[0], sizes[1]))?;
            let at = at.broadcast_as(pixels.shape())?.contiguous()?;
            found = Some(match found {
                None => (pixels, at),
                Some((largest, first)) => {
                    let is_at_least = largest.ge(&pixels)?;
                    let is_nan = largest.ne(&largest)?;
                    let stays = is_at_least.where_cond(&is_at_least, &is_nan)?;
                    (stays.where_cond(&largest, &pixels)?, stays.where_cond(&first, &at)?)
                }
            });
        }
    }
    found.map(|(_, at)| at).ok_or_else(|| Error::Msg("max_pool: the windows have no pixels".into()))
}

/// Indices into a tensor, on its device.
fn indices(at: &[usize], tensor: &Tensor) -> Result<Tensor> {
    let at: Vec<u32> =
        at.iter().map(|&i| u32::try_from(i).map_err(Error::wrap)).collect::<Result<_>>()?;
    Tensor::new(at, tensor.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn column(values: &[f64]) -> Result<Var> {
        Var::from_tensor(&Tensor::new(values, &Device::Cpu)?.reshape((1, 1, values.len(), 1))?)
    }

    fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
        tensor.flatten_all()?.to_vec1()
    }

    #[test]
    fn pixels_that_no_window_reads_have_no_gradient() -> Result<()> {
        let x = Var::from_tensor(&Tensor::ones((1, 1, 5, 2), DType::F64, &Device::Cpu)?)?;
        let grads = average(&x, 2)?.sum_all()?.backward()?;
        let want = [[0.25; 8].as_slice(), &[0.0; 2]].concat();
        assert_eq!(flat(grads.get(&x).expect("a gradient"))?, want);
        Ok(())
    }

    #[test]
    fn the_first_largest_pixel_gets_the_gradient() -> Result<()> {
        let windows = MaxWindows { size: 3, stride: 1, padding: 1 };
        let below = f64::NEG_INFINITY;
        for (values, want) in [
            ([1.0, 2.0, 2.0, 2.0], [0.0, 3.0, 1.0, 0.0]),
            ([below; 4], [2.0, 1.0, 1.0, 0.0]),
            ([f64::NAN, 2.0, f64::NAN, 2.0], [2.0, 0.0, 2.0, 0.0]),
        ] {
            // The column, and a second column that is never larger.
            let first = column(&values)?;
            let x = Tensor::cat(
                &[first.as_tensor(), &Tensor::full(below, (1, 1, 4, 1), &Device::Cpu)?],
                3,
            )?;
            let y = maximum(&x, windows, [4, 2])?.narrow(3, 0, 1)?;
            assert_eq!(y.dims(), [1, 1, 4, 1]);
            let grads = y.sum_all()?.backward()?;
            assert_eq!(flat(grads.get(&first).expect("a gradient"))?, want, "{values:?}");
        }
        Ok(())
    }

    #[test]
    fn the_mean_of_many_bf16_values_is_exact() -> Result<()> {
        let x = Tensor::ones((1, 1, 40, 40), DType::BF16, &Device::Cpu)?;
        let mean = |t: Tensor| t.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
        assert_eq!(mean(crate::ops::sums::plane_mean(&x)?)?, [1.0]);
        assert_eq!(mean(average(&x, 40)?)?, [1.0]);
        Ok(())
    }
}
