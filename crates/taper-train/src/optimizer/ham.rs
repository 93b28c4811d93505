//! Hyperbolic aware minimization (HAM), on top of any optimizer.

use super::{Optimizer, OptimizerState};
use candle_core::{Result, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::{
    Params,
    ops::{HyperbolicStep, hyperbolic_step},
};
use taper_prune::Momentum;

/// HAM: after a step of another optimizer, each weight of the convolutions and linear layers is multiplied by a factor.
///
/// ```text
/// w ← w·exp(lr·(−α·sign(w)·g − β)),  g = factor·grad
/// ```
///
/// `w` is the weight after the step of the other optimizer; `g` is the gradient before it. The factor is positive, so
/// only the other optimizer can change a sign, and 0 stays 0. HAM has the implicit bias of a hyperbolic mirror map,
/// towards sparse weights.
///
/// Source: Jacobs et al., Hyperbolic Aware Minimization: Implicit Bias for Sparsity, arXiv:2506.02630, with its α = 200
/// and β = 1e-3. The paper applies HAM to tensors with two or more axes. The authors' program also limits the norms of
/// weights and gradients; here, only the gradient is clipped, as the run specifies.
///
/// ```
/// use candle_core::Device;
/// use taper_nn::{Init, ParamKind, Scope};
/// use taper_train::{Ham, Optimizer, Sgd};
///
/// let scope = Scope::new(0, &Device::Cpu);
/// let weight = scope.param("weight", (1, 1), ParamKind::LinearWeight, Init::Constant(1.0))?;
/// let mut ham = Ham::new(Sgd::new(0.9, 0.0));
/// let grads = (weight.sum_all()? * 0.25)?.backward()?;
/// ham.step(&scope.finish(), &grads, 1.0, 0.01)?;
/// // 1 − 0.01·0.25, and then exp(0.01·(−200·0.25 − 0.001)).
/// assert!((f64::from(weight.to_vec2::<f32>()?[0][0]) - 0.9975 * (-0.50001f64).exp()).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ham<O> {
    inner: O,
    alpha: f64,
    beta: f64,
}

impl<O: Optimizer> Ham<O> {
    /// HAM on top of `inner`, with α = 200 and β = 1e-3.
    pub fn new(inner: O) -> Self {
        Self { inner, alpha: 200.0, beta: 1e-3 }
    }

    /// Sets α, the factor on the gradient, at least 0.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets β, the decay towards 0, at least 0.
    #[must_use]
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }
}

impl<O: Optimizer> Optimizer for Ham<O> {
    fn name(&self) -> String {
        format!("{} with ham", self.inner.name())
    }

    fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()> {
        self.inner.step(params, grads, factor, lr)?;
        let step = HyperbolicStep { factor, alpha: self.alpha, beta: self.beta, lr };
        for (_, var) in params.prunable() {
            if let Some(grad) = grads.get(var) {
                hyperbolic_step(var, grad, step)?;
            }
        }
        Ok(())
    }

    fn forget(&mut self, params: &Params, weights: &[Mask]) -> Result<()> {
        self.inner.forget(params, weights)
    }

    fn begin(&mut self, params: &Params, weights: &[Momentum]) -> Result<()> {
        self.inner.begin(params, weights)
    }

    fn state(&self, params: &Params) -> Result<OptimizerState> {
        self.inner.state(params)
    }

    fn restore(&mut self, params: &Params, state: &OptimizerState) -> Result<()> {
        self.inner.restore(params, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sgd;
    use candle_core::{Device, Tensor};
    use taper_nn::{Init, ParamKind, Scope};

    #[test]
    fn only_weights_are_scaled_with_the_sign_after_the_inner_step() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        let bias = scope.param("bias", 1, ParamKind::Bias, one)?;
        let weight = scope.param("weight", (1, 3), ParamKind::LinearWeight, one)?;
        let params = scope.finish();
        let mut ham = Ham::new(Sgd::new(0.5, 0.0)).alpha(4.0).beta(0.5);
        assert_eq!(ham.name(), "sgd with ham");
        // With a learning rate of 1/4 and half of the gradient, the inner step results in 1/2, −1/2 and 0.
        let slopes = Tensor::new(&[[4.0f32, 12.0, 8.0]], &Device::Cpu)?;
        let loss = ((weight.as_tensor() * slopes)?.sum_all()? + bias.sum_all()?)?;
        ham.step(&params, &loss.backward()?, 0.5, 0.25)?;
        let found = weight.flatten_all()?.to_vec1::<f32>()?;
        // 0.25·(−4·2 − 0.5) and 0.25·(4·6 − 0.5)
        let wanted = [0.5 * (-2.125f64).exp(), -0.5 * 5.875f64.exp(), 0.0];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((f64::from(*found) - wanted).abs() <= 1e-6 * wanted.abs(), "{found} {wanted}");
        }
        assert_eq!(bias.to_vec1::<f32>()?, [0.875]);
        // The state is that of the inner optimizer.
        let state = ham.state(&params)?;
        assert_eq!(state.tensors["velocity/weight"].to_vec2::<f32>()?, [[2.0, 6.0, 4.0]]);
        ham.forget(&params, &[Mask::full(3)])?;
        assert_eq!(ham.state(&params)?.tensors["velocity/weight"].to_vec2::<f32>()?, [[0.0; 3]]);
        let mut second = Mask::empty(3);
        second.set(1, true);
        ham.begin(&params, &[Momentum { weights: second, values: vec![9.0] }])?;
        let begun = ham.state(&params)?.tensors["velocity/weight"].to_vec2::<f32>()?;
        assert_eq!(begun, [[0.0, 9.0, 0.0]]);
        ham.restore(&params, &state)?;
        assert_eq!(
            ham.state(&params)?.tensors["velocity/weight"].to_vec2::<f32>()?,
            [[2.0, 6.0, 4.0]]
        );
        Ok(())
    }
}
