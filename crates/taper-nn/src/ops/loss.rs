//! Cross-entropy loss.

use super::{cpu, types::wide, with_values};
use candle_core::{CpuStorage, CustomOp1, DType, Error, Layout, Result, Shape, Tensor};
use taper_kernels::loss::Scores;

/// Mean cross-entropy of `logits` `[batch, classes]` and `labels` `[batch]`.
///
/// With label smoothing ε in `[0, 1)`, the target distribution is 1 − ε for the label plus ε spread evenly over all
/// classes.
///
/// # Errors
/// If the shapes do not match, or a label is no class. On a GPU, labels are not checked. Labels must be integers.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let (batch, classes) = logits.dims2()?;
    if labels.dims() != [batch] {
        candle_core::bail!(
            "cross-entropy: labels of shape {:?} do not fit logits of shape {:?}",
            labels.dims(),
            logits.dims()
        )
    }
    // Reading labels from another device would wait for it.
    if !logits.device().is_cpu() {
        return composed(logits, labels, smoothing);
    }
    if !labels.dtype().is_int() {
        candle_core::bail!("cross-entropy: labels of {:?}; pass integers", labels.dtype())
    }
    let numbers = labels.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let class = |label: i64| u32::try_from(label).ok().filter(|&label| (label as usize) < classes);
    let numbers = numbers.into_iter().map(|label| {
        class(label).ok_or_else(|| {
            Error::msg(format!("cross-entropy: label {label}, but there are {classes} classes"))
        })
    });
    let numbers: Vec<u32> = numbers.collect::<Result<_>>()?;
    if !cpu::has_kernels(logits) {
        return composed(logits, labels, smoothing);
    }
    let labels = numbers;
    logits.contiguous()?.apply_op1(CrossEntropy { labels, classes, smoothing })
}

/// The same with candle's own operations, on any device.
fn composed(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let (dtype, logits) = (logits.dtype(), &wide(logits)?);
    let below = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let log_probabilities = below.broadcast_sub(&below.exp()?.sum_keepdim(1)?.log()?)?;
    let hard = log_probabilities.gather(&labels.unsqueeze(1)?, 1)?.mean_all()?.neg()?;
    let even = log_probabilities.mean_all()?.neg()?;
    ((hard * (1.0 - smoothing))? + (even * smoothing)?)?.to_dtype(dtype)
}

const NAME: &str = "cross-entropy";

struct CrossEntropy {
    labels: Vec<u32>,
    classes: usize,
    smoothing: f64,
}

impl CrossEntropy {
    fn scores<'a>(&'a self, logits: &'a [f32]) -> Scores<'a> {
        let Self { labels, classes, smoothing } = self;
        Scores { logits, labels, classes: *classes, smoothing: *smoothing }
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let loss = self.scores(cpu::slice(NAME, logits, layout)?).loss();
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let upstream = grad.to_scalar::<f32>()?;
        let mut found = vec![0.0; logits.elem_count()];
        with_values(&[logits], |v| self.scores(v[0]).gradient(upstream, &mut found))?;
        Ok(Some(Tensor::from_vec(found, logits.dims(), logits.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

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

    #[test]
    fn the_kernel_agrees_with_candles_own_operations() -> Result<()> {
        let values: Vec<f64> = (0..35).map(|i| f64::from(i * 37 % 23) / 4.0).collect();
        let labels = Tensor::new(&[0u32, 6, 3, 3, 1], &Device::Cpu)?;
        for smoothing in [0.0, 0.2] {
            let run = |dtype: DType| -> Result<Vec<f64>> {
                let logits = Tensor::from_vec(values.clone(), (5, 7), &Device::Cpu)?;
                let logits = Var::from_tensor(&logits.to_dtype(dtype)?)?;
                let loss = cross_entropy(&logits, &labels, smoothing)?;
                let grads = (&loss * 3.0)?.backward()?;
                let grad = grads.get(&logits).expect("a gradient").flatten_all()?;
                Tensor::cat(&[loss.reshape(1)?, grad], 0)?.to_dtype(DType::F64)?.to_vec1()
            };
            for (kernel, composed) in run(DType::F32)?.iter().zip(run(DType::F64)?) {
                assert!((kernel - composed).abs() < 1e-6 * (1.0 + composed.abs()));
            }
        }
        Ok(())
    }

    #[test]
    fn sums_of_many_classes_are_not_in_half_precision() -> Result<()> {
        let labels = Tensor::zeros(2, DType::U32, &Device::Cpu)?;
        for dtype in [DType::BF16, DType::F16] {
            let logits = Var::zeros((2, 1000), dtype, &Device::Cpu)?;
            let loss = cross_entropy(&logits, &labels, 0.0)?;
            assert_eq!(loss.dtype(), dtype);
            // A sum in bf16 stops at 256.
            let found = loss.to_dtype(DType::F32)?.to_scalar::<f32>()?;
            assert!((found - 1000f32.ln()).abs() < 0.02, "{dtype:?}: {found}");
            let grads = loss.backward()?;
            let grad = grads.get(&logits).expect("a gradient").to_dtype(DType::F32)?;
            let sum = grad.sum_all()?.to_scalar::<f32>()?;
            assert!(sum.abs() < 0.01, "{dtype:?}: probabilities of {sum}");
        }
        Ok(())
    }

    #[test]
    fn labels_that_do_not_fit_are_errors() -> Result<()> {
        let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let logits = logits.to_dtype(dtype)?;
            let error = |labels: &[u32]| -> Result<String> {
                let labels = Tensor::new(labels, &Device::Cpu)?;
                Ok(cross_entropy(&logits, &labels, 0.0).expect_err("no loss").to_string())
            };
            assert!(error(&[0, 3])?.contains("label 3, but there are 3 classes"));
            assert!(error(&[0, u32::MAX])?.contains("but there are 3 classes"));
            assert!(error(&[0])?.contains("labels of shape [1]"));
            let refused = |labels: Tensor| {
                cross_entropy(&logits, &labels, 0.0).expect_err("no loss").to_string()
            };
            for label in [-1i64, 1 << 32] {
                let labels = Tensor::new(&[0, label], &Device::Cpu)?;
                assert!(refused(labels).contains(&format!("label {label}, but")), "{label}");
            }
            let floats = Tensor::new(&[0.0f32, 1.0], &Device::Cpu)?;
            assert!(refused(floats).contains("labels of F32; pass integers"));
        }
        Ok(())
    }
}
