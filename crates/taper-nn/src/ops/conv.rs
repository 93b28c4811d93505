//! Convolution and linear product of tensors, image by image.

use super::{cpu, with_values};
use crate::ConvConfig;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use taper_kernels::conv::{self, ConvShape};

/// Convolves `x` `[batch, in, height, width]` with `weight` `[out, in / groups, kernel, kernel]`; no bias.
///
/// # Errors
/// If channels do not match, or the kernel is larger than the padded plane.
pub(super) fn conv2d(x: &Tensor, weight: &Tensor, config: &ConvConfig) -> Result<Tensor> {
    let shape = shape(x.dims4()?, weight, config)?;
    if !(cpu::has_kernels(x) && cpu::has_kernels(weight)) {
        return x.conv2d(weight, config.padding, config.stride, config.dilation, config.groups);
    }
    let (out_h, out_w) = shape.out_size().unwrap_or_default();
    let out = Shape::from((shape.batch, shape.channels_out, out_h, out_w));
    x.contiguous()?.apply_op2(&weight.contiguous()?, Conv { shape, out })
}

/// Sizes of the convolution of an input `[batch, in, height, width]` with `weight`.
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
            "conv2d: input of {channels_in} channels for a weight of {:?} in {} groups",
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
            "conv2d: a kernel of {kernel_h}x{kernel_w} does not fit a plane of {height}x{width}"
        )
    }
    Ok(shape)
}

/// `x·weightᵀ` for `x` `[batch, in]` and `weight` `[out, in]`.
///
/// # Errors
/// If the features do not match.
pub(super) fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((batch, features), (features_out, features_in)) = (x.dims2()?, weight.dims2()?);
    if features != features_in {
        candle_core::bail!(
            "linear: input of {features} features for a weight of {:?}",
            weight.dims()
        )
    }
    if !(cpu::has_kernels(x) && cpu::has_kernels(weight)) {
        return x.matmul(&weight.t()?);
    }
    let shape = ConvShape::linear(batch, features_in, features_out);
    x.contiguous()?
        .apply_op2(&weight.contiguous()?, Conv { shape, out: Shape::from((batch, features_out)) })
}

const NAME: &str = "conv";

struct Conv {
    shape: ConvShape,
    out: Shape,
}

impl CustomOp2 for Conv {
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
        // The images of a batch are no variables: nothing needs their gradient.
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

    #[test]
    fn values_and_gradients_agree_with_candles_own_convolution() -> Result<()> {
        // A square plane: candle's own gradient fails on others at stride 2.
        for (stride, padding, groups) in [(1, 1, 1), (2, 1, 1), (1, 0, 2), (2, 2, 4)] {
            let config =
                ConvConfig { kernel: 3, stride, padding, dilation: 1, groups, bias: false };
            let (x, w) = (var((3, 4, 8, 8), 0.7)?, var((8, 4 / groups, 3, 3), 1.1)?);
            let run = |y: Tensor| -> Result<[Vec<f32>; 3]> {
                let upstream = Tensor::from_vec(wave(y.elem_count(), 0.3), y.dims(), &Device::Cpu)?;
                let grads = (&y * upstream)?.sum_all()?.backward()?;
                let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
                Ok([flat(&y)?, flat(grads.get(&x).unwrap())?, flat(grads.get(&w).unwrap())?])
            };
            let ours = run(conv2d(&x, &w, &config)?)?;
            let candles = run(x.conv2d(&w, padding, stride, 1, groups)?)?;
            for (name, (ours, candles)) in
                ["out", "x", "weight"].iter().zip(ours.iter().zip(&candles))
            {
                for (a, b) in ours.iter().zip(candles) {
                    assert!(
                        (a - b).abs() < 1e-4,
                        "{name} at stride {stride}, groups {groups}: {a} {b}"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() -> Result<()> {
        let (x, w) = (var((1, 4, 2, 2), 0.7)?, var((8, 4, 3, 3), 1.1)?);
        let error = conv2d(&x, &w, &ConvConfig { padding: 0, ..ConvConfig::same(3) }).unwrap_err();
        assert!(error.to_string().contains("does not fit"), "{error}");
        let w = var((8, 3, 3, 3), 1.1)?;
        let error = conv2d(&x, &w, &ConvConfig::same(3)).unwrap_err();
        assert!(error.to_string().contains("4 channels"), "{error}");
        Ok(())
    }
}
