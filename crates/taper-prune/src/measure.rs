//! Measuring a network before masks are chosen.
//!
//! Some criteria need more than a weight and the gradient of a step: a product with the Hessian, or the flow through the network.
//! A [`Measure`] computes their scores from what a [`GradientOracle`] gives, which a training loop implements.

use crate::error::PruneError;
use candle_core::{Result, Tensor};
use std::fmt::Debug;
use taper_core::LayerInfo;
use taper_kernels::mask::Mask;

/// Which loss is differentiated: the mean cross-entropy over some training images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Images of each class.
    pub per_class: usize,
    /// What logits are divided by, above 0.
    pub temperature: f64,
}

/// Derivatives of a network with respect to its prunable weights: a tensor for each layer, of its shape and in the order of the
/// pruner.
///
/// A loop implements what its criterion asks for. `taper-train` has an implementation for models of `taper-nn`.
pub trait GradientOracle {
    /// Gradient of the loss of a sample in the weights as they are, with normalisations as in training. It changes no buffer.
    ///
    /// # Errors
    /// If it cannot be computed, or the loop has no samples.
    fn gradient(&mut self, _sample: &Sample) -> Result<Vec<Tensor>> {
        candle_core::bail!("this training loop gives no gradient of a sample")
    }

    /// Product of the Hessian of that loss with a direction. Rectifiers count by their derivative alone, as in a second backward
    /// pass.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    fn curvature(&mut self, _sample: &Sample, _direction: &[Tensor]) -> Result<Vec<Tensor>> {
        candle_core::bail!("this training loop gives no product with the Hessian")
    }

    /// Gradient of the synaptic flow in these weights, which are f64, on the CPU, and at least 0: of the sum of the outputs for
    /// an image of ones, where biases are left out and normalisations multiply alone.
    ///
    /// # Errors
    /// If it cannot be computed.
    fn flow(&mut self, _weights: &[Tensor]) -> Result<Vec<Tensor>> {
        candle_core::bail!("this training loop gives no synaptic flow")
    }
}

/// A layer that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// Its description.
    pub info: &'a LayerInfo,
    /// Its dense weights, in row-major order.
    pub weights: &'a [f32],
    /// Those of them that are kept so far.
    pub mask: &'a Mask,
}

/// Computes the scores of all layers from derivatives of the network.
pub trait Measure: Debug + Send + Sync {
    /// How many times the network is measured, at least 1. The density falls to the one asked for by the same factor each time,
    /// and each time sees the masks of the time before.
    fn rounds(&self) -> u32 {
        1
    }

    /// A score for each weight of each layer. The criterion finds it in [`View::gradient`](crate::criterion::View::gradient).
    ///
    /// # Errors
    /// [`PruneError`] if the network does not give what is needed.
    fn measure(
        &self,
        network: &mut dyn GradientOracle,
        layers: &[Measured],
    ) -> std::result::Result<Vec<Vec<f32>>, PruneError>;
}

/// The values of what an oracle has given, in f64.
///
/// # Errors
/// [`PruneError::Preparation`] if a layer's has another size or is not finite.
pub(crate) fn values(
    given: &[Tensor],
    layers: &[Measured],
) -> std::result::Result<Vec<Vec<f64>>, PruneError> {
    if given.len() != layers.len() {
        let (found, wanted) = (given.len(), layers.len());
        let reason = format!("the oracle gives {found} tensors for {wanted} layers");
        return Err(PruneError::Preparation { reason });
    }
    let layers = given.iter().zip(layers);
    let values = layers.map(|(given, layer)| {
        let values: Vec<f64> = given.flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1()?;
        let refuse = |what: String| {
            let reason = format!("what the oracle gives for {} {what}", layer.info.name);
            Err(PruneError::Preparation { reason })
        };
        if values.len() != layer.weights.len() {
            return refuse(format!("has {} values", values.len()));
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => refuse(format!("has a value of {value}")),
            None => Ok(values),
        }
    });
    values.collect()
}
