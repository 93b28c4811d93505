//! Fully connected layer.

use crate::{Activation, Init, ParamKind, Pass, Scope, ops};
use candle_core::{Result, Var};
use taper_core::LayerId;

/// `x·weightᵀ + bias` for `x` of shape `[batch, in]`; weight `[out, in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    name: String,
    id: LayerId,
    weight: Var,
    bias: Var,
}

impl Linear {
    /// Registers `weight` and `bias` ([`Init::of_bias`]) in `scope`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn new(scope: &Scope, features_in: usize, features_out: usize, init: Init) -> Result<Self> {
        let (weight, id) =
            scope.weight((features_out, features_in), ParamKind::LinearWeight, init)?;
        let bias = scope.param("bias", features_out, ParamKind::Bias, init.of_bias(features_in))?;
        Ok(Self { name: scope.path().to_string(), id, weight, bias })
    }

    /// Multiplies `x`.
    ///
    /// # Errors
    /// If `x` does not have the features that the layer was built for.
    pub fn forward(&self, x: impl Into<Activation>, pass: &Pass) -> Result<Activation> {
        let weights = pass.weights(self.id, &self.weight, Some(&self.bias));
        let y = ops::linear(&pass.enter(&self.name, x.into())?, &weights)?;
        pass.report(&self.name, Some(self.id), &y, self.weight.elem_count() as u64)?;
        Ok(y)
    }
}
