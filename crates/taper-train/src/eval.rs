//! Evaluation on all images of a split.

use crate::{
    error::TrainError,
    loss::{Loss, value},
};
use candle_core::{D, Device, Result, Tensor};
use taper_data::{Batch, Loader};
use taper_distributed::Ranks;
use taper_nn::{Gates, KernelContext, Model, Pass};

/// Loss and accuracy on a split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss per image; NaN without images, as the accuracy.
    pub loss: f64,
    /// Top-1 accuracy, in `[0, 1]`.
    pub accuracy: f64,
    /// Number of images.
    pub n_images: u64,
}

impl Evaluation {
    /// The value for an epoch without evaluation.
    pub(crate) const NONE: Self = Self { loss: f64::NAN, accuracy: f64::NAN, n_images: 0 };
}

/// Evaluates the model with these gates on every image of `split`. The loss is [`Loss::evaluated`]; `kernels` is shared
/// by all passes.
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
    Evaluated { model, gates, loss, device, kernels }.by(&Ranks::default(), split)
}

/// The arguments of an evaluation.
pub(crate) struct Evaluated<'a> {
    pub(crate) model: &'a dyn Model,
    pub(crate) gates: &'a Gates,
    pub(crate) loss: &'a dyn Loss,
    pub(crate) device: &'a Device,
    pub(crate) kernels: &'a KernelContext,
}

impl Evaluated<'_> {
    /// Evaluates on all ranks; each rank computes some of the batches. All ranks return the same result.
    pub(crate) fn by(
        &self,
        ranks: &Ranks,
        split: &Loader,
    ) -> std::result::Result<Evaluation, TrainError> {
        let (rank, size) = (ranks.rank(), ranks.size());
        let is_mine = move |number: usize| number % size == rank;
        let mut mine = Vec::new();
        let parts = split.parts_from(0, 0, move |number, n| 0..if is_mine(number) { n } else { 0 });
        for (number, batch) in parts.enumerate() {
            if is_mine(number) {
                mine.extend(self.of(batch)?);
            }
        }
        let n_batches = split.batches_per_epoch();
        let counts = (0..size).map(|rank| (rank..n_batches).step_by(size).len());
        let lens: Vec<usize> = counts.map(|n| n * BATCH_NUMBERS).collect();
        let all = ranks.all_gather(&mine, &lens)?;
        let mut rest = &all[..];
        let mut of_ranks = Vec::new();
        for len in lens {
            let (of_rank, after) = rest.split_at(len);
            of_ranks.push(of_rank.chunks_exact(BATCH_NUMBERS));
            rest = after;
        }
        // Summed in the order of the batches, so the bits do not depend on the number of ranks.
        let (mut sum, mut n_correct, mut n_images) = (0.0, 0.0, 0.0);
        for number in 0..n_batches {
            let found = of_ranks[number % size].next().unwrap_or_default();
            if let [loss, correct, images] = *found {
                sum += loss;
                n_correct += correct;
                n_images += images;
            }
        }
        // NaN without images.
        let (loss, accuracy) = (sum / n_images, n_correct / n_images);
        Ok(Evaluation { loss, accuracy, n_images: n_images as u64 })
    }

    /// Sum of the losses of a batch, number of correctly classified images, and number of images.
    fn of(&self, batch: Batch) -> std::result::Result<[f64; BATCH_NUMBERS], TrainError> {
        let n = batch.len() as f64;
        let (images, labels) = tensors(batch, self.device)?;
        let pass = Pass::eval_gated(self.gates).with_kernels(self.kernels);
        let logits = self.model.forward(&images, &pass)?;
        let loss = value(&self.loss.evaluated(&logits, &labels)?)?;
        Ok([loss * n, count_correct(&logits, &labels)? as f64, n])
    }
}

/// Count of the numbers that [`Evaluated::of`] returns for a batch.
const BATCH_NUMBERS: usize = 3;

/// Images `[batch, channels, height, width]` and labels `[batch]` on the device.
pub(crate) fn tensors(batch: Batch, device: &Device) -> Result<(Tensor, Tensor)> {
    let dims = batch.dims();
    let labels = Tensor::new(&batch.labels[..], device)?;
    Ok((Tensor::from_vec(batch.images, &dims[..], &Device::Cpu)?.to_device(device)?, labels))
}

/// Number of images with the largest logit at the label; among equal logits, the first counts.
pub(crate) fn count_correct(logits: &Tensor, labels: &Tensor) -> Result<u64> {
    let hits = logits.argmax(D::Minus1)?.eq(labels)?;
    Ok(hits.to_vec1::<u8>()?.iter().map(|&hit| u64::from(hit)).sum())
}
