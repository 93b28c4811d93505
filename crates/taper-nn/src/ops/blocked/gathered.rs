//! Gathers rows of all ranks, with a gradient.

use super::KernelContext;
use crate::ops::{cpu, with_values};
use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor};
use taper_distributed::Ranks;

/// Gathers `[batch, features]` of the whole batch from the rows of each rank's images. The gradient is passed to the
/// rows of this rank. If every rank has the whole batch, the result is the tensor itself.
///
/// A loss of the result is the loss of the whole batch, equal on all ranks.
///
/// # Errors
/// If `rows` does not have a row of f32 for each image of this rank, or another rank has ended.
pub fn gathered(rows: &Tensor, kernels: &KernelContext) -> Result<Tensor> {
    let Some(share) = kernels.rank_share() else { return Ok(rows.clone()) };
    let (n, features) = rows.dims2()?;
    let images = share.images();
    if n != images.len() || !cpu::has_kernels(rows) {
        candle_core::bail!(
            "expected {} rows of f32 on the CPU, got {:?} of {:?}",
            images.len(),
            rows.dims(),
            rows.dtype()
        )
    }
    let lens = share.counts().map(|n| n * features).collect();
    let op = Gather { ranks: share.ranks().clone(), lens, of: share.of(), first: images.start };
    rows.contiguous()?.apply_op1(op)
}

/// Gathers the labels of the whole batch from the labels of each rank's images.
///
/// # Errors
/// As [`gathered`].
pub fn gathered_labels(labels: &Tensor, kernels: &KernelContext) -> Result<Tensor> {
    let Some(share) = kernels.rank_share() else { return Ok(labels.clone()) };
    let mine: Vec<f64> = labels.to_vec1::<u32>()?.into_iter().map(f64::from).collect();
    let n = share.images().len();
    if mine.len() != n {
        candle_core::bail!("expected {n} labels of this rank's images, got {}", mine.len())
    }
    let lens: Vec<usize> = share.counts().collect();
    let all = share.ranks().all_gather(&mine, &lens).map_err(Error::wrap)?;
    let all: Vec<u32> = all.into_iter().map(|label| label as u32).collect();
    Tensor::from_vec(all, share.of(), &Device::Cpu)
}

struct Gather {
    ranks: Ranks,
    /// How many numbers each rank has.
    lens: Vec<usize>,
    /// Number of images of the batch, and index of this rank's first image.
    of: usize,
    first: usize,
}

const NAME: &str = "gather";

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = cpu::slice(NAME, rows, layout)?;
        let mine: Vec<f64> = rows.iter().map(|&value| f64::from(value)).collect();
        let all = self.ranks.all_gather(&mine, &self.lens).map_err(Error::wrap)?;
        let all: Vec<f32> = all.into_iter().map(|value| value as f32).collect();
        let features = layout.shape().dims()[1];
        Ok((CpuStorage::F32(all), Shape::from((self.of, features))))
    }

    fn bwd(&self, rows: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let n = rows.elem_count();
        let first = self.first * rows.dim(1)?;
        let mine = with_values(&[grad], |v| v[0][first..first + n].to_vec())?;
        Ok(Some(Tensor::from_vec(mine, rows.dims(), rows.device())?))
    }
}
