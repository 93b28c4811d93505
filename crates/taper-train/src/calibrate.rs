//! Statistics of normalisations, estimated again.

use crate::{error::TrainError, eval::tensors};
use candle_core::{DType, Device, Tensor, Var};
use taper_data::Loader;
use taper_nn::{BatchNorm, Gates, Model, Pass};

/// Sets the running means and variances of every normalisation to the plain averages over the first `n_batches` of an
/// epoch. Weights stay as they are.
///
/// Pruning moves what reaches a normalisation, and running statistics remember older weights.
/// Each batch is normalised by its own statistics on the way, as in training, so one pass is enough.
///
/// # Errors
/// If the images do not fit the model.
pub fn calibrate(
    model: &dyn Model,
    images: &Loader,
    n_batches: usize,
    device: &Device,
) -> Result<(), TrainError> {
    let buffers = model.params().entries().iter().filter(|entry| entry.kind.is_none());
    let (counters, running): (Vec<_>, Vec<_>) =
        buffers.map(|entry| &entry.var).partition(|var| var.dtype() == DType::I64);
    let mut sums: Vec<Vec<f64>> = running.iter().map(|var| vec![0.0; var.elem_count()]).collect();
    let mut n = 0u32;
    for batch in images.epoch(0).take(n_batches) {
        // From zero, a batch leaves its own statistics times the momentum.
        running.iter().try_for_each(|var| var.set(&var.zeros_like()?))?;
        model.forward(&tensors(batch, device)?.0, &Pass::train(&Gates::NONE))?;
        for (sums, var) in sums.iter_mut().zip(&running) {
            let found = var.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            sums.iter_mut().zip(found).for_each(|(sum, v)| *sum += v / BatchNorm::MOMENTUM);
        }
        n += 1;
    }
    let set = |var: &Var, sums: Vec<f64>| -> candle_core::Result<()> {
        let means: Vec<f32> = sums.iter().map(|sum| (sum / f64::from(n.max(1))) as f32).collect();
        var.set(&Tensor::from_vec(means, var.shape(), device)?)
    };
    running.iter().zip(sums).try_for_each(|(var, sums)| set(var, sums))?;
    let counted = |var: &&Var| var.set(&Tensor::full(i64::from(n), var.shape(), device)?);
    Ok(counters.iter().try_for_each(counted)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Result;
    use taper_data::{Augment, Dataset, LoaderConfig, OpenOptions};

    #[test]
    fn statistics_are_the_averages_over_the_batches() -> Result<()> {
        let options = OpenOptions { limit: Some(64), ..OpenOptions::default() };
        let data = Dataset::open("digits", &options).expect("the digits");
        let config = LoaderConfig::train(16, Augment::None, data.normalisation.clone(), 3);
        let images = Loader::new(data.train.clone(), config).expect("a loader");
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu).expect("a network");
        let value = |name: &str| model.params().get(name).expect("a buffer").var.copy();
        let weight = value("conv1.weight")?.flatten_all()?.to_vec1::<f32>()?;
        // By hand, for the first normalisation.
        let (mut mean, mut var) = (0.0, 0.0);
        for batch in images.epoch(0).take(3) {
            let x = tensors(batch, &Device::Cpu)?.0;
            let y = x.conv2d(&value("conv1.weight")?, 1, 1, 1, 1)?.narrow(1, 5, 1)?;
            let y = y.flatten_all()?.to_vec1::<f32>()?;
            let n = y.len() as f64;
            let m = y.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            mean += m / 3.0;
            var += y.iter().map(|&v| (f64::from(v) - m).powi(2)).sum::<f64>() / (n - 1.0) / 3.0;
        }
        calibrate(&*model, &images, 3, &Device::Cpu).expect("statistics");
        let at =
            |name: &str| Ok::<_, candle_core::Error>(f64::from(value(name)?.to_vec1::<f32>()?[5]));
        assert!((at("bn1.running_mean")? - mean).abs() < 1e-5, "{mean}");
        assert!((at("bn1.running_var")? - var).abs() < 1e-4 * var, "{var}");
        assert_eq!(value("bn1.num_batches_tracked")?.to_scalar::<i64>()?, 3);
        assert_eq!(value("conv1.weight")?.flatten_all()?.to_vec1::<f32>()?, weight);
        Ok(())
    }
}
