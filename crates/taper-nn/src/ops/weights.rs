//! The weights of a convolution or linear layer, as an argument of operations.

use super::{dual::DualWeights, threshold::threshold_ste, types};
use crate::Gate;
use candle_core::{DType, Result, Tensor};

/// The weights of a convolution or linear layer.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// The dense weight; the gate prunes it.
    pub weight: &'a Tensor,
    /// A value for each output channel.
    pub bias: Option<&'a Tensor>,
    /// The gate, if the layer is pruned.
    pub gate: Option<&'a Gate>,
    /// Whether to track gradients.
    pub is_tracked: bool,
    /// The direction of the weight, with its shape, in a pass that computes derivatives along a direction.
    pub direction: Option<&'a Tensor>,
}

impl Weights<'_> {
    /// The common type of input, weight and bias. The bias must have a value for each output.
    pub(super) fn shared_type(&self, op: &str, x: DType) -> Result<DType> {
        if let Some(bias) = self.bias
            && self.weight.dims().get(..1) != Some(bias.dims())
        {
            candle_core::bail!(
                "{op}: a bias of shape {:?} does not fit a weight of shape {:?}",
                bias.dims(),
                self.weight.dims()
            )
        }
        let weight = ("weight", self.weight.dtype());
        match self.bias {
            Some(bias) => types::shared(op, &[("input", x), weight, ("bias", bias.dtype())]),
            None => types::shared(op, &[("input", x), weight]),
        }
    }

    /// The weight, pruned by the gate if there is one. Its gradient is passed straight through to the dense weight.
    ///
    /// # Errors
    /// As [`threshold_ste`], or in a pass that computes derivatives along a direction, because candle's own operations
    /// have no forward-mode derivatives.
    pub fn pruned(&self) -> Result<Tensor> {
        if self.direction.is_some() {
            candle_core::bail!(
                "a layer uses candle's own operations, which have no derivatives along a direction of the weights; use the \
                 operations of taper_nn::ops"
            )
        }
        let weight = tracked(self.weight, self.is_tracked);
        match self.gate {
            Some(gate) => threshold_ste(&weight, gate),
            None => Ok(weight),
        }
    }

    /// The weights for an input with derivatives.
    pub(super) fn dual(&self, op: &str) -> Result<DualWeights<'_>> {
        let Some(direction) = self.direction else {
            candle_core::bail!("{op}: the input has derivatives, but the weight has no direction")
        };
        if direction.dims() != self.weight.dims() {
            candle_core::bail!(
                "{op}: the direction has shape {:?}, but the weight has shape {:?}",
                direction.dims(),
                self.weight.dims()
            )
        }
        Ok(DualWeights { weight: self.weight, direction, bias: self.bias })
    }

    /// The bias, with a gradient if gradients are tracked.
    pub fn bias(&self) -> Option<Tensor> {
        self.bias.map(|bias| tracked(bias, self.is_tracked))
    }
}

/// The tensor, detached unless `is_tracked`.
pub(super) fn tracked(tensor: &Tensor, is_tracked: bool) -> Tensor {
    if is_tracked { tensor.clone() } else { tensor.detach() }
}
