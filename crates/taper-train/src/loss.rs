//! Losses.

use crate::cross_entropy;
use candle_core::{Result, Tensor};

/// The loss of a batch.
///
/// A function of logits and labels implements it. This example is the squared error against one-hot labels:
///
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use taper_train::Loss;
///
/// fn squared_error(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
///     let classes = Tensor::arange(0u32, logits.dim(1)? as u32, logits.device())?;
///     let one_hot = labels.unsqueeze(1)?.broadcast_eq(&classes.unsqueeze(0)?)?;
///     (logits - one_hot.to_dtype(logits.dtype())?)?.sqr()?.sum(1)?.mean_all()
/// }
///
/// let logits = Tensor::new(&[[1f32, 0.0], [0.5, 0.5]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// assert_eq!(squared_error.of(&logits, &labels)?.to_scalar::<f32>()?, 0.25);
/// let in_a_run: Box<dyn Loss> = Box::new(squared_error); // run.loss = …
/// # Ok::<(), candle_core::Error>(())
/// ```
pub trait Loss: Send {
    /// The training loss: a scalar, the mean over the batch. `logits` is `[batch, classes]`; `labels` is `[batch]`,
    /// u32.
    ///
    /// # Errors
    /// If the shapes do not fit, or candle fails to compute.
    fn of(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor>;

    /// The loss that evaluation reports, for the same shapes. By default, it is the training loss.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    fn evaluated(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        self.of(logits, labels)
    }
}

impl<F: Fn(&Tensor, &Tensor) -> Result<Tensor> + Send> Loss for F {
    fn of(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        self(logits, labels)
    }
}

/// Cross-entropy with label smoothing. Evaluation uses no smoothing. See [`cross_entropy`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_train::{CrossEntropy, Loss};
/// let (logits, labels) = (Tensor::new(&[[0f32, 0.0]], &Device::Cpu)?, Tensor::new(&[1u32], &Device::Cpu)?);
/// let loss = CrossEntropy { smoothing: 0.1 }.of(&logits, &labels)?.to_scalar::<f32>()?;
/// assert_eq!(loss, std::f32::consts::LN_2);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// The fraction of the target that is spread over all classes, in `[0, 1)`.
    pub smoothing: f64,
}

impl Loss for CrossEntropy {
    fn of(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        cross_entropy(logits, labels, self.smoothing)
    }

    fn evaluated(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        cross_entropy(logits, labels, 0.0)
    }
}

/// The value of a loss tensor.
///
/// # Errors
/// If the loss is not a scalar.
pub(crate) fn value(loss: &Tensor) -> Result<f64> {
    if loss.elem_count() != 1 {
        candle_core::bail!(
            "the loss has shape {:?}, but must be a scalar; take the mean over the batch",
            loss.dims()
        )
    }
    loss.flatten_all()?.to_dtype(candle_core::DType::F64)?.get(0)?.to_scalar()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn evaluation_is_without_smoothing() -> Result<()> {
        let logits = Tensor::new(&[[3f32, 0.0, -1.0]], &Device::Cpu)?;
        let labels = Tensor::new(&[0u32], &Device::Cpu)?;
        let smooth = CrossEntropy { smoothing: 0.2 };
        let plain = value(&cross_entropy(&logits, &labels, 0.0)?)?;
        assert_eq!(value(&smooth.evaluated(&logits, &labels)?)?, plain);
        assert_eq!(
            value(&smooth.of(&logits, &labels)?)?,
            value(&cross_entropy(&logits, &labels, 0.2)?)?
        );
        assert!(value(&smooth.of(&logits, &labels)?)? > plain);
        let error = value(&logits).unwrap_err().to_string();
        assert!(error.contains("shape [1, 3], but must be a scalar"), "{error}");
        Ok(())
    }
}
