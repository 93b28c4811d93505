//! Derivatives of a network, for criteria that measure the network before masks are chosen.

use crate::eval::tensors;
use candle_core::{DType, Device, Result, Tensor, Var};
use taper_data::Loader;
use taper_nn::{Gates, KernelContext, Mode, Model, Pass};
use taper_prune::{GradientOracle, Sample};

/// Maximum number of images in a batch.
const BATCH: usize = 32;

/// Computes derivatives of a model on training images.
///
/// A sample consists of the first images of each class in the first epoch, with the augmentation of that epoch. The
/// epoch itself does not change. Batches have the loader's size, but at most 32 images, because forward-mode passes
/// need several times the memory of training. The loss is the cross-entropy without smoothing. Weights and buffers do
/// not change.
///
/// Hessian-vector products are exact up to rounding (forward over reverse): a forward pass computes directional
/// derivatives ([`Pass::along`]), and a backward pass follows.
pub struct ModelOracle<'a> {
    model: &'a dyn Model,
    images: &'a Loader,
    device: &'a Device,
    kernels: KernelContext,
}

impl<'a> ModelOracle<'a> {
    /// Derivatives of `model` on its training images. Its parameters must be on `device`.
    pub fn new(model: &'a dyn Model, images: &'a Loader, device: &'a Device) -> Self {
        Self { model, images, device, kernels: KernelContext::default() }
    }

    /// Uses the kernel context of a run.
    #[must_use]
    pub fn with_kernels(self, kernels: &KernelContext) -> Self {
        Self { kernels: kernels.clone(), ..self }
    }

    fn weights(&self) -> impl Iterator<Item = &Var> {
        self.model.params().prunable().map(|(_, var)| var)
    }

    /// The gradient of a weighted sum of the model's output rows, over all batches of a sample. `factors` computes the
    /// weights from the rows, the labels and the number of images.
    fn summed(
        &self,
        sample: &Sample,
        pass: &Pass,
        factors: impl Fn(&Rows, &[u32], f64) -> Result<Vec<f64>>,
    ) -> Result<Vec<Tensor>> {
        let selection = self.images.of_each_class(0, sample.per_class, BATCH);
        if selection.n_images() == 0 {
            candle_core::bail!(
                "no training image to measure the network; take at least 1 per class"
            )
        }
        let mut sums: Vec<Vec<f64>> =
            self.weights().map(|var| vec![0.0; var.elem_count()]).collect();
        for batch in (0..).map_while(|number| selection.batch(number)) {
            let labels = batch.labels.clone();
            let (images, _) = tensors(batch, self.device)?;
            let images = images.to_dtype(self.model.params().dtype())?;
            let rows = self.model.forward(&images, &pass.with_kernels(&self.kernels))?;
            let factors = factors(&Rows::of(&rows)?, &labels, selection.n_images() as f64)?;
            let factors = Tensor::from_vec(factors, rows.dims(), &Device::Cpu)?;
            let factors = factors.to_dtype(rows.dtype())?.to_device(rows.device())?;
            let grads = (rows * factors)?.sum_all()?.backward()?;
            for (sum, var) in sums.iter_mut().zip(self.weights()) {
                if let Some(grad) = grads.get(var) {
                    let grad = grad.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                    sum.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
                }
            }
        }
        let tensors = sums.into_iter().zip(self.weights()).map(|(sum, var)| {
            let sum = Tensor::from_vec(sum, var.dims(), &Device::Cpu)?.to_dtype(var.dtype())?;
            sum.to_device(var.device())
        });
        tensors.collect()
    }
}

impl GradientOracle for ModelOracle<'_> {
    fn gradient(&mut self, sample: &Sample) -> Result<Vec<Tensor>> {
        let none = Gates::NONE;
        let pass = Pass::train(&none).without_statistics();
        self.summed(sample, &pass, |logits, labels, n_images| {
            let softmax = logits.softmax(labels, sample.temperature)?;
            Ok(softmax.gradient(labels, n_images))
        })
    }

    fn curvature(&mut self, sample: &Sample, direction: &[Tensor]) -> Result<Vec<Tensor>> {
        self.summed(sample, &Pass::along(direction), |both, labels, n_images| {
            // The rows of the logits come first, then the rows of their directional derivatives.
            let (logits, slopes) = both.halves(labels.len())?;
            let softmax = logits.softmax(labels, sample.temperature)?;
            let of_slopes = softmax.gradient(labels, n_images);
            Ok([softmax.curvature(&slopes, n_images), of_slopes].concat())
        })
    }

    fn flow(&mut self, weights: &[Tensor]) -> Result<Vec<Tensor>> {
        let weights: Vec<Var> = weights.iter().map(Var::from_tensor).collect::<Result<_>>()?;
        let tensors: Vec<Tensor> = weights.iter().map(|var| var.as_tensor().clone()).collect();
        let shape = self.images.shape();
        let dims = (1, shape.channels, shape.height, shape.width);
        let ones = Tensor::ones(dims, DType::F64, &Device::Cpu)?;
        let none = Gates::NONE;
        let pass = Pass::new(Mode::Flow(&tensors), &none);
        let grads = self.model.forward(&ones, &pass)?.sum_all()?.backward()?;
        weights
            .iter()
            .map(|var| grads.get(var).map_or_else(|| var.zeros_like(), |g| Ok(g.clone())))
            .collect()
    }
}

/// Rows of numbers, one row for each image.
struct Rows {
    values: Vec<f64>,
    classes: usize,
}

impl Rows {
    fn of(rows: &Tensor) -> Result<Self> {
        let (_, classes) = rows.dims2()?;
        Ok(Self { values: rows.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?, classes })
    }

    /// Splits `2·n` rows into the first `n` and the last `n`.
    fn halves(&self, n: usize) -> Result<(Self, Self)> {
        let middle = n * self.classes;
        if self.values.len() != 2 * middle {
            candle_core::bail!(
                "the network uses candle operations between its layers, which have no directional derivatives; \
                 use the operations of taper-nn"
            )
        }
        let part = |values: &[f64]| Self { values: values.to_vec(), classes: self.classes };
        Ok((part(&self.values[..middle]), part(&self.values[middle..])))
    }

    /// Softmax of the logits divided by a temperature.
    fn softmax(&self, labels: &[u32], temperature: f64) -> Result<Softmax> {
        if self.values.len() != labels.len() * self.classes {
            candle_core::bail!(
                "there are {} logits for {} labels of {} classes",
                self.values.len(),
                labels.len(),
                self.classes
            )
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= self.classes) {
            candle_core::bail!("label {label} is out of range; there are {} classes", self.classes)
        }
        let mut rows = Self { values: self.values.clone(), classes: self.classes };
        for row in rows.values.chunks_mut(self.classes.max(1)) {
            let largest = row.iter().fold(f64::NEG_INFINITY, |most, &z| most.max(z));
            row.iter_mut().for_each(|z| *z = libm::exp((*z - largest) / temperature));
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|z| *z /= sum);
        }
        Ok(Softmax { rows, temperature })
    }
}

/// Class probabilities, with the derivatives of the cross-entropy.
struct Softmax {
    rows: Rows,
    temperature: f64,
}

impl Softmax {
    /// Gradient of the mean loss over `n_images` w.r.t. each logit: `(p − y)/T`.
    fn gradient(&self, labels: &[u32], n_images: f64) -> Vec<f64> {
        let mut found = self.rows.values.clone();
        for (row, &label) in found.chunks_mut(self.rows.classes.max(1)).zip(labels) {
            row[label as usize] -= 1.0;
        }
        found.iter_mut().for_each(|g| *g /= self.temperature * n_images);
        found
    }

    /// Product of the Hessian (of the mean loss over `n_images`, w.r.t. the logits) with the directional derivatives ż
    /// of the logits: `(p⊙ż − p·pᵀż)/T²`.
    fn curvature(&self, slopes: &Rows, n_images: f64) -> Vec<f64> {
        let classes = self.rows.classes.max(1);
        let scale = 1.0 / (self.temperature * self.temperature * n_images);
        let rows = self.rows.values.chunks(classes).zip(slopes.values.chunks(classes));
        let rows = rows.flat_map(|(p, slopes)| {
            let mean: f64 = p.iter().zip(slopes).map(|(p, slope)| p * slope).sum();
            p.iter().zip(slopes).map(move |(p, slope)| p * (slope - mean) * scale)
        });
        rows.collect()
    }
}
