//! The rows of all ranks.

use super::KernelContext;
use crate::ops::{cpu, with_values};
use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor};
use taper_distributed::Ranks;

/// `[batch, features]` of all images of a batch, from the rows of the images that this rank has of it. Its gradient reaches
/// these rows. Where every rank has the whole batch it is the tensor itself.
///
/// A loss that is computed of it is that of the whole batch, on every rank alike.
///
/// # Errors
/// If there is not a row of f32 for each image that the rank has, or another rank has ended.
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

/// The labels of all images of a batch, from those of the images that this rank has of it.
///
/// # Errors
/// As [`gathered`].
pub fn gathered_labels(labels: &Tensor, kernels: &KernelContext) -> Result<Tensor> {
    let Some(share) = kernels.rank_share() else { return Ok(labels.clone()) };
    let mine: Vec<f64> = labels.to_vec1::<u32>()?.into_iter().map(f64::from).collect();
    let lens: Vec<usize> = share.counts().collect();
    let all = share.ranks().all_gather(&mine, &lens).map_err(Error::wrap)?;
    let all: Vec<u32> = all.into_iter().map(|label| label as u32).collect();
    Tensor::from_vec(all, share.of(), &Device::Cpu)
}

struct Gather {
    ranks: Ranks,
    /// Numbers of each rank.
    lens: Vec<usize>,
    /// Images of the batch, and the first of this rank.
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
