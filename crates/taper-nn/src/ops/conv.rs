//! Convolution and linear layers on tensors, image by image.

use super::{cpu, depthwise, sums::add_bias, types::wide, with_values};
use crate::ConvConfig;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};
use taper_kernels::conv::{self, ConvShape};

/// Convolves `x` `[batch, in, height, width]` with `weight` `[out, in / groups, kernel, kernel]`.
///
/// # Errors
/// If channels do not match, or the kernel is larger than the padded plane.
pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &ConvConfig,
) -> Result<Tensor> {
    let shape = shape(x.dims4()?, weight, config)?;
    let y = if cpu::has_kernels(x) && cpu::has_kernels(weight) {
        let (out_h, out_w) = shape.out_size().unwrap_or_default();
        let out = Shape::from((shape.batch, shape.channels_out, out_h, out_w));
        x.contiguous()?.apply_op2(&weight.contiguous()?, ConvOp { shape, out })?
    } else {
        composed(&wide(x)?, &wide(weight)?, &shape)?
    };
    with_bias(y, bias, x.dtype())
}

/// The same with candle's own operations, on any device.
fn composed(x: &Tensor, weight: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    if shape.groups > 1 && shape.channels_in == shape.groups {
        return depthwise::conv2d(x, weight, shape);
    }
    let (read, padding) = read_part(x, shape)?;
    read.conv2d(weight, padding, shape.stride, shape.dilation, shape.groups)
}

/// The part of the padded plane that windows read, and the padding that remains to be added.
///
/// With a stride, windows may not read the last rows and columns. Candle's gradient computes the number of both from
/// the height, and fails if they differ.
fn read_part(x: &Tensor, shape: &ConvShape) -> Result<(Tensor, usize)> {
    let (rows, columns) = shape.out_size().unwrap_or_default();
    let padding = shape.padding;
    let reach = |n: usize, kernel: usize| {
        n.saturating_sub(1) * shape.stride + shape.dilation * kernel.saturating_sub(1) + 1
    };
    let (height, width) = (reach(rows, shape.kernel.0), reach(columns, shape.kernel.1));
    if (height, width) == (shape.height + 2 * padding, shape.width + 2 * padding) {
        return Ok((x.clone(), padding));
    }
    let padded = x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
    Ok((padded.narrow(2, 0, height)?.narrow(3, 0, width)?.contiguous()?, 0))
}

/// Shape of the convolution of an input `[batch, in, height, width]` with `weight`.
///
/// # Errors
/// As [`conv2d`].
pub(super) fn shape(
    (batch, channels_in, height, width): (usize, usize, usize, usize),
    weight: &Tensor,
    config: &ConvConfig,
) -> Result<ConvShape> {
    let (channels_out, group_in, kernel_h, kernel_w) = weight.dims4()?;
    if channels_in != group_in * config.groups {
        candle_core::bail!(
            "conv2d: an input of {channels_in} channels does not fit a weight of shape {:?} in {} groups",
            weight.dims(),
            config.groups
        )
    }
    let shape = ConvShape {
        batch,
        channels_in,
        channels_out,
        height,
        width,
        kernel: (kernel_h, kernel_w),
        stride: config.stride,
        padding: config.padding,
        dilation: config.dilation,
        groups: config.groups,
    };
    if shape.out_size().is_none() {
        candle_core::bail!(
            "conv2d: a kernel of {kernel_h}x{kernel_w} does not fit a plane of {height}x{width} with a padding of {}, or the sizes are more than memory holds",
            config.padding
        )
    }
    Ok(shape)
}

/// `x·weightᵀ + bias` for `x` `[batch, in]` and `weight` `[out, in]`.
///
/// # Errors
/// If the features do not match.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ((batch, features), (features_out, features_in)) = (x.dims2()?, weight.dims2()?);
    if features != features_in {
        candle_core::bail!(
            "linear: an input of {features} features does not fit a weight of shape {:?}",
            weight.dims()
        )
    }
    let y = if cpu::has_kernels(x) && cpu::has_kernels(weight) {
        let shape = ConvShape::linear(batch, features_in, features_out);
        let out = Shape::from((batch, features_out));
        x.contiguous()?.apply_op2(&weight.contiguous()?, ConvOp { shape, out })?
    } else {
        wide(x)?.matmul(&wide(weight)?.t()?)?
    };
    with_bias(y, bias, x.dtype())
}

/// Adds a value for each channel, and rounds to the type of the input.
fn with_bias(y: Tensor, bias: Option<&Tensor>, dtype: DType) -> Result<Tensor> {
    match bias {
        Some(bias) => add_bias(&y, &wide(bias)?)?.to_dtype(dtype),
        None => y.to_dtype(dtype),
    }
}

const NAME: &str = "conv";

struct ConvOp {
    shape: ConvShape,
    out: Shape,
}

impl CustomOp2 for ConvOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) =
            (cpu::slice(NAME, x, x_layout)?, cpu::slice(NAME, weight, weight_layout)?);
        let mut out = vec![0.0; self.out.elem_count()];
        conv::forward(&self.shape, x, weight, &mut out);
        Ok((CpuStorage::F32(out), self.out.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        grad_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut grad_weight = vec![0.0; weight.elem_count()];
        with_values(&[x, grad_out], |v| {
            conv::grad_weight(&self.shape, v[0], v[1], &mut grad_weight)
        })?;
        // Images are usually no variables, and then need no gradient.
        let grad_x = if x.track_op() {
            let mut grad = vec![0.0; x.elem_count()];
            with_values(&[weight, grad_out], |v| {
                conv::grad_input(&self.shape, v[0], v[1], &mut grad)
            })?;
            Some(Tensor::from_vec(grad, x.dims(), x.device())?)
        } else {
            None
        };
        Ok((grad_x, Some(Tensor::from_vec(grad_weight, weight.dims(), weight.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn wave(n: usize, frequency: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * frequency).sin()).collect()
    }

    fn var(shape: (usize, usize, usize, usize), frequency: f32) -> Result<Var> {
        let n = shape.0 * shape.1 * shape.2 * shape.3;
        Var::from_tensor(&Tensor::from_vec(wave(n, frequency), shape, &Device::Cpu)?)
    }

    /// Shapes for which candle's own gradient fails: the stride leaves different numbers of unread rows and columns.
    #[test]
    fn planes_and_kernels_need_not_be_square() -> Result<()> {
        for ((height, width), kernel, stride) in
            [((4, 5), (3, 3), 2), ((5, 4), (3, 3), 2), ((6, 6), (3, 2), 2), ((1, 6), (1, 1), 4)]
        {
            let x = var((2, 2, height, width), 0.7)?;
            let w = var((3, 2, kernel.0, kernel.1), 1.1)?;
            let config = ConvConfig { stride, ..ConvConfig::same(3) };
            let shape = shape(x.dims4()?, &w, &config)?;
            let run = |y: Tensor| -> Result<[Vec<f32>; 3]> {
                let upstream = Tensor::from_vec(wave(y.elem_count(), 0.3), y.dims(), &Device::Cpu)?;
                let grads = (&y * upstream)?.sum_all()?.backward()?;
                let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
                Ok([flat(&y)?, flat(grads.get(&x).unwrap())?, flat(grads.get(&w).unwrap())?])
            };
            let kernels = run(conv2d(&x, &w, None, &config)?)?;
            let candles = run(composed(&x, &w, &shape)?)?;
            for (a, b) in kernels.iter().flatten().zip(candles.iter().flatten()) {
                assert!((a - b).abs() < 1e-4, "{height}x{width}, kernel {kernel:?}: {a} {b}");
            }
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let (x, w) = (var((1, 4, 2, 2), 0.7)?, var((8, 4, 3, 3), 1.1)?);
        let error =
            conv2d(&x, &w, None, &ConvConfig { padding: 0, ..ConvConfig::same(3) }).unwrap_err();
        assert!(error.to_string().contains("does not fit"), "{error}");
        let w = var((8, 3, 3, 3), 1.1)?;
        let error = conv2d(&x, &w, None, &ConvConfig::same(3)).unwrap_err();
        assert!(error.to_string().contains("4 channels"), "{error}");
        Ok(())
    }
}
