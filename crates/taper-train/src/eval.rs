//! Evaluation on a whole split.

use crate::{
    error::TrainError,
    loss::{Loss, value},
};
use candle_core::{D, Device, Result, Tensor};
use taper_data::{Batch, Loader};
use taper_nn::{Gates, KernelContext, Model, Pass};

/// Loss and accuracy over a split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss per image.
    pub loss: f64,
    /// Share of images whose largest logit is the label's, in `[0, 1]`.
    pub accuracy: f64,
    /// Images.
    pub n_images: u64,
}

impl Evaluation {
    /// Of nothing: in an epoch without evaluation.
    pub(crate) const NONE: Self = Self { loss: f64::NAN, accuracy: f64::NAN, n_images: 0 };
}

/// Runs the model over every image of `split` with these gates; `loss` is what [`Loss::evaluated`] gives, and
/// `kernels` is what its passes share.
///
/// # Errors
/// If the images do not fit the model.
pub fn evaluate(
    model: &dyn Model,
    gates: &Gates,
    split: &Loader,
    loss: &dyn Loss,
    device: &Device,
    kernels: &KernelContext,
) -> std::result::Result<Evaluation, TrainError> {
    let (mut sum, mut n_correct, mut n_images) = (0.0, 0, 0u64);
    for batch in split.epoch(0) {
        let n = batch.len() as u64;
        let (images, labels) = tensors(batch, device)?;
        let logits = model.forward(&images, &Pass::eval_gated(gates).with_kernels(kernels))?;
        sum += value(&loss.evaluated(&logits, &labels)?)? * n as f64;
        n_correct += count_correct(&logits, &labels)?;
        n_images += n;
    }
    let count = n_images.max(1) as f64;
    Ok(Evaluation { loss: sum / count, accuracy: n_correct as f64 / count, n_images })
}

/// Images `[batch, channels, height, width]` and labels `[batch]` on the device.
pub(crate) fn tensors(batch: Batch, device: &Device) -> Result<(Tensor, Tensor)> {
    let dims = batch.dims();
    let labels = Tensor::new(&batch.labels[..], device)?;
    Ok((Tensor::from_vec(batch.images, &dims[..], &Device::Cpu)?.to_device(device)?, labels))
}

/// How many of the largest logits are at the label; the first of equal ones counts.
pub(crate) fn count_correct(logits: &Tensor, labels: &Tensor) -> Result<u64> {
    let hits = logits.argmax(D::Minus1)?.eq(labels)?;
    Ok(hits.to_vec1::<u8>()?.iter().map(|&hit| u64::from(hit)).sum())
}
