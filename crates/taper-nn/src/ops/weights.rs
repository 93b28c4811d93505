//! The weights of a convolution or linear layer, as an operation takes them.

use super::{dual::DualWeights, threshold::threshold_ste, types};
use crate::Gate;
use candle_core::{DType, Result, Tensor};

/// What a convolution or linear layer computes with.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// All weights; the gate prunes them.
    pub weight: &'a Tensor,
    /// A value for each output channel.
    pub bias: Option<&'a Tensor>,
    /// Which weights are kept, if not all.
    pub gate: Option<&'a Gate>,
    /// Whether gradients are wanted.
    pub is_tracked: bool,
    /// The direction of the weight, of its shape, in a pass that computes derivatives along one.
    pub direction: Option<&'a Tensor>,
}

impl Weights<'_> {
    /// The type that an input shares with weight and bias.
    pub(super) fn shared_type(&self, op: &str, x: DType) -> Result<DType> {
        let weight = ("weight", self.weight.dtype());
        match self.bias {
            Some(bias) => types::shared(op, &[("input", x), weight, ("bias", bias.dtype())]),
            None => types::shared(op, &[("input", x), weight]),
        }
    }

    /// The weight, pruned by the gate if there is one; its gradient goes straight through to the dense weight.
    ///
    /// # Errors
    /// As [`threshold_ste`], or in a pass that computes derivatives along a direction, which operations of candle's own do not
    /// have.
    pub fn pruned(&self) -> Result<Tensor> {
        if self.direction.is_some() {
            candle_core::bail!(
                "a layer computes by operations of candle's own, which have no derivatives along a direction of the weights; \
                 compute by those of taper_nn::ops"
            )
        }
        let weight = tracked(self.weight, self.is_tracked);
        match self.gate {
            Some(gate) => threshold_ste(&weight, gate),
            None => Ok(weight),
        }
    }

    /// What duals are multiplied with.
    pub(super) fn dual(&self, op: &str) -> Result<DualWeights<'_>> {
        let Some(direction) = self.direction else {
            candle_core::bail!("{op}: an input with derivatives for a weight without a direction")
        };
        if direction.dims() != self.weight.dims() {
            candle_core::bail!(
                "{op}: a direction of {:?} for a weight of {:?}",
                direction.dims(),
                self.weight.dims()
            )
        }
        Ok(DualWeights { weight: self.weight, direction, bias: self.bias })
    }

    /// The bias, with a gradient if one is wanted.
    pub fn bias(&self) -> Option<Tensor> {
        self.bias.map(|bias| tracked(bias, self.is_tracked))
    }
}

/// The tensor, without a gradient unless one is wanted.
pub(super) fn tracked(tensor: &Tensor, is_tracked: bool) -> Tensor {
    if is_tracked { tensor.clone() } else { tensor.detach() }
}
