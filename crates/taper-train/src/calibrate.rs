//! Recomputing the running statistics of batch norm.

use crate::{error::TrainError, eval::tensors};
use candle_core::{DType, Device, Tensor, Var};
use taper_data::Loader;
use taper_nn::{Entry, Gates, KernelContext, Model, Pass, Tracking};

/// Sets the running means and variances of every batch norm to the averages over the first `n_batches` batches of the
/// first epoch. Weights do not change. All passes share `kernels`.
///
/// Pruning changes the inputs of batch norm, but running statistics still contain older weights. Each batch is
/// normalised by its own statistics, as in training, so one pass is enough.
///
/// # Errors
/// If there is no batch, or the images do not fit the model. The statistics are then as before.
pub fn calibrate(
    model: &dyn Model,
    images: &Loader,
    n_batches: usize,
    device: &Device,
    kernels: &KernelContext,
) -> Result<(), TrainError> {
    let entries = model.params().entries();
    // Statistics with a momentum of 0 stay fixed.
    let average = |entry: &Entry| match entry.tracking {
        Some(Tracking::Average(momentum)) if momentum > 0.0 => Some((entry.var.clone(), momentum)),
        _ => None,
    };
    let running: Vec<(Var, f64)> = entries.iter().filter_map(average).collect();
    let tracked = entries.iter().filter(|entry| entry.tracking.is_some());
    let before = tracked.map(|entry| Ok((entry.var.clone(), entry.var.copy()?)));
    let before: Vec<(Var, Tensor)> = before.collect::<candle_core::Result<_>>()?;
    let averaged = averages(model, images, n_batches, device, kernels, &running);
    if averaged.is_err() {
        before.iter().try_for_each(|(var, values)| var.set(values))?;
    }
    let (n, averages) = averaged?;
    let set = |var: &Var, means: Vec<f64>| -> candle_core::Result<()> {
        let means = Tensor::from_vec(means, var.shape(), &Device::Cpu)?.to_dtype(var.dtype())?;
        var.set(&means.to_device(device)?)
    };
    running.iter().zip(averages).try_for_each(|((var, _), means)| set(var, means))?;
    let counters = entries.iter().filter(|entry| entry.tracking == Some(Tracking::Count));
    let counted = |var: &Var| var.set(&Tensor::full(i64::from(n), var.shape(), device)?);
    Ok(counters.map(|entry| &entry.var).try_for_each(counted)?)
}

/// The number of batches, and the averages of running statistics over them. The statistics themselves change.
fn averages(
    model: &dyn Model,
    images: &Loader,
    n_batches: usize,
    device: &Device,
    kernels: &KernelContext,
    running: &[(Var, f64)],
) -> Result<(u32, Vec<Vec<f64>>), TrainError> {
    let mut sums: Vec<Vec<f64>> =
        running.iter().map(|(var, _)| vec![0.0; var.elem_count()]).collect();
    let mut n = 0u32;
    for batch in images.epoch(0).take(n_batches) {
        // If a running statistic starts at 0, it is the momentum times the batch statistic after one batch.
        running.iter().try_for_each(|(var, _)| var.set(&var.zeros_like()?))?;
        model.forward(
            &tensors(batch, device)?.0,
            &Pass::train(&Gates::NONE).with_kernels(kernels),
        )?;
        for (sums, (var, momentum)) in sums.iter_mut().zip(running) {
            let found = var.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            sums.iter_mut().zip(found).for_each(|(sum, v)| *sum += v / momentum);
        }
        n += 1;
    }
    if n == 0 {
        let reason =
            "there is no batch of images for batch norm; pass more images, or a smaller batch";
        return Err(candle_core::Error::Msg(reason.into()).into());
    }
    let average = |sums: Vec<f64>| sums.iter().map(|sum| sum / f64::from(n)).collect();
    Ok((n, sums.into_iter().map(average).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Result;
    use taper_data::{Augment, Dataset, LoaderConfig, OpenOptions};
    use taper_nn::{BatchNorm, BatchNormConfig, Params, Scope};

    #[test]
    fn statistics_are_the_averages_over_the_batches() -> Result<()> {
        let options = OpenOptions { limit: Some(64), ..OpenOptions::default() };
        let data = Dataset::open("digits", &options).expect("the digits");
        let config = LoaderConfig::train(16, Augment::None, data.normalisation.clone(), 3);
        let images = Loader::new(data.train.clone(), config).expect("a loader");
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu).expect("a network");
        let value = |name: &str| model.params().get(name).expect("a buffer").var.copy();
        let weight = value("conv1.weight")?.flatten_all()?.to_vec1::<f32>()?;
        // Computed directly for channel 5 of the first batch norm.
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
        calibrate(&*model, &images, 3, &Device::Cpu, &KernelContext::default())
            .expect("statistics");
        let at =
            |name: &str| Ok::<_, candle_core::Error>(f64::from(value(name)?.to_vec1::<f32>()?[5]));
        assert!((at("bn1.running_mean")? - mean).abs() < 1e-5, "{mean}");
        assert!((at("bn1.running_var")? - var).abs() < 1e-4 * var, "{var}");
        assert_eq!(value("bn1.num_batches_tracked")?.to_scalar::<i64>()?, 3);
        assert_eq!(value("conv1.weight")?.flatten_all()?.to_vec1::<f32>()?, weight);
        Ok(())
    }

    #[test]
    fn without_a_batch_statistics_stay() -> Result<()> {
        let data = Dataset::open("digits", &OpenOptions::default()).expect("the digits");
        let config = LoaderConfig::train(16, Augment::None, data.normalisation.clone(), 3);
        let images = Loader::new(data.train.clone(), config).expect("a loader");
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu).expect("a network");
        let var = || model.params().get("bn1.running_var").expect("a buffer").var.to_vec1::<f32>();
        let before = var()?;
        let error = calibrate(&*model, &images, 0, &Device::Cpu, &KernelContext::default());
        assert!(error.expect_err("no batch").to_string().contains("no batch of images"));
        assert_eq!(var()?, before);
        // Images of another shape.
        let other = taper_zoo::build("resnet20@0.1", 10, 0, &Device::Cpu).expect("a network");
        let is_var = |entry: &&Entry| entry.name.ends_with("running_var");
        let var = || other.params().entries().iter().find(is_var).expect("a buffer").var.to_vec1();
        let before: Vec<f32> = var()?;
        let error = calibrate(&*other, &images, 1, &Device::Cpu, &KernelContext::default());
        assert!(error.is_err());
        assert_eq!(var()?, before);
        Ok(())
    }

    /// Two batch norms: one with any momentum, one with momentum 0. The scope has other buffers as well.
    struct Net {
        moved: BatchNorm,
        held: BatchNorm,
        params: Params,
    }

    impl Model for Net {
        fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
            self.held.forward(&self.moved.forward(images, pass)?, pass)?.tensor()
        }

        fn params(&self) -> &Params {
            &self.params
        }
    }

    #[test]
    fn averages_do_not_depend_on_the_momentum_and_other_buffers_stay() -> Result<()> {
        let options = OpenOptions { limit: Some(32), ..OpenOptions::default() };
        let data = Dataset::open("digits", &options).expect("the digits");
        let config = LoaderConfig::train(16, Augment::None, data.normalisation.clone(), 3);
        let images = Loader::new(data.train.clone(), config).expect("a loader");
        let averages = |momentum: f64| -> Result<Vec<f32>> {
            let scope = Scope::new(0, &Device::Cpu);
            let norm = |name: &str, momentum| {
                let config = BatchNormConfig { momentum, ..BatchNormConfig::default() };
                BatchNorm::with_config(&scope.pp(name), 1, config)
            };
            let (moved, held) = (norm("moved", momentum)?, norm("held", 0.0)?);
            scope.buffer("index", Tensor::new(7i64, &Device::Cpu)?)?;
            scope.buffer("scale", Tensor::new(0.5f32, &Device::Cpu)?)?;
            let net = Net { moved, held, params: scope.finish() };
            calibrate(&net, &images, 2, &Device::Cpu, &KernelContext::default())
                .expect("statistics");
            let var = |name: &str| net.params.get(name).expect("a buffer").var.clone();
            let found = ["moved.running_mean", "moved.running_var"]
                .map(|name| Ok::<_, candle_core::Error>(var(name).to_vec1::<f32>()?[0]));
            assert_eq!(var("held.running_mean").to_vec1::<f32>()?, [0.0]);
            assert_eq!(var("held.running_var").to_vec1::<f32>()?, [1.0]);
            assert_eq!(var("index").to_scalar::<i64>()?, 7);
            assert_eq!(var("scale").to_scalar::<f32>()?, 0.5);
            found.into_iter().collect()
        };
        let (tenth, half) = (averages(0.1)?, averages(0.5)?);
        for (a, b) in tenth.iter().zip(&half) {
            assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} for {b}");
        }
        Ok(())
    }
}
