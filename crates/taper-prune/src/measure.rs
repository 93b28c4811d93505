//! Measurement of a network before masks are chosen.
//!
//! Some criteria need more than the weights and the gradient of a step: a Hessian-vector product, or the synaptic flow.
//! A [`Measure`] computes their scores from the derivatives of a [`GradientOracle`], which a training loop implements.

use crate::error::PruneError;
use candle_core::{Result, Tensor};
use std::fmt::Debug;
use taper_core::LayerInfo;
use taper_kernels::mask::Mask;

/// The loss to differentiate: the mean cross-entropy over some training images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Images per class.
    pub per_class: usize,
    /// Divisor of the logits, above 0.
    pub temperature: f64,
}

/// Derivatives of a network with respect to its prunable weights: one tensor for each layer, with its shape and in the
/// order of the pruner.
///
/// A training loop implements the methods that its criterion needs. `taper-train` has an implementation for models of
/// `taper-nn`.
pub trait GradientOracle {
    /// Gradient of the loss of a sample at the current weights, with batch norm in training mode. It changes no buffer.
    ///
    /// # Errors
    /// If the gradient cannot be computed, or the loop has no samples.
    fn gradient(&mut self, _sample: &Sample) -> Result<Vec<Tensor>> {
        candle_core::bail!("this training loop does not implement the gradient of a sample")
    }

    /// Product of the Hessian of that loss with a direction. The second derivative of a ReLU is 0, as in a second
    /// backward pass.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    fn curvature(&mut self, _sample: &Sample, _direction: &[Tensor]) -> Result<Vec<Tensor>> {
        candle_core::bail!("this training loop does not implement the product with the Hessian")
    }

    /// Gradient of the synaptic flow at these weights, which are f64, on the CPU, and at least 0. The flow is the sum
    /// of the outputs for an image of ones, without biases; batch norm only multiplies.
    ///
    /// # Errors
    /// If the gradient cannot be computed.
    fn flow(&mut self, _weights: &[Tensor]) -> Result<Vec<Tensor>> {
        candle_core::bail!("this training loop does not implement the synaptic flow")
    }
}

/// A layer to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// Description of the layer.
    pub info: &'a LayerInfo,
    /// Dense weights, in row-major order.
    pub weights: &'a [f32],
    /// The weights that are kept so far.
    pub mask: &'a Mask,
}

/// Computes the scores of all layers from derivatives of the network.
pub trait Measure: Debug + Send + Sync {
    /// Number of rounds, at least 1. The density falls by the same factor in each round, to the requested density in
    /// the last one. Each round uses the masks of the previous round.
    fn rounds(&self) -> u32 {
        1
    }

    /// A score for each weight of each layer. The criterion receives it as
    /// [`View::gradient`](crate::criterion::View::gradient).
    ///
    /// # Errors
    /// [`PruneError`] if the network does not return the required derivatives.
    fn score_all(
        &self,
        network: &mut dyn GradientOracle,
        layers: &[Measured],
    ) -> std::result::Result<Vec<Vec<f32>>, PruneError>;
}

/// The values that an oracle returned, in f64.
///
/// # Errors
/// [`PruneError::Preparation`] if the values of a layer have the wrong size or are not finite.
pub(crate) fn values(
    given: &[Tensor],
    layers: &[Measured],
) -> std::result::Result<Vec<Vec<f64>>, PruneError> {
    if given.len() != layers.len() {
        let (found, wanted) = (given.len(), layers.len());
        let reason = format!("the oracle returned {found} tensors for {wanted} layers");
        return Err(PruneError::Preparation { reason });
    }
    let layers = given.iter().zip(layers);
    let values = layers.map(|(given, layer)| {
        let values: Vec<f64> = given.flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1()?;
        let refuse = |what: String| {
            let reason = format!("the result of the oracle for {} {what}", layer.info.name);
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
