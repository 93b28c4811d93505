//! Stochastic gradient descent (SGD) with momentum and weight decay.

use super::{Optimizer, OptimizerState, forget_at, remember_at};
use candle_core::{Result, Tensor, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::{
    Params,
    ops::{SgdStep, sgd_step},
};
use taper_prune::Momentum;

/// Name of the velocity in checkpoints.
pub(crate) const VELOCITY: &str = "velocity";

/// SGD, as in PyTorch. By default, without dampening and without Nesterov momentum.
///
/// ```text
/// g = factor·grad + decay·w                (decay only on weights of convolutions and linear layers)
/// v ← momentum·v + (1 − dampening)·g       (the first velocity is g itself)
/// w ← w − lr·v                             (with Nesterov momentum: w − lr·(g + momentum·v))
/// ```
///
/// Without momentum, dampening has no effect. PyTorch rejects Nesterov momentum together with dampening; here, the
/// formula above applies.
///
/// ```
/// use taper_train::{Optimizer, Sgd};
/// let sgd = Sgd::new(0.9, 5e-4).nesterov(true);
/// assert_eq!(sgd.name(), "sgd");
/// ```
#[derive(Clone, Debug)]
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    dampening: f64,
    nesterov: bool,
    velocity: Vec<Option<Tensor>>,
}

impl Sgd {
    /// SGD without a velocity yet. `momentum` is in `[0, 1)`, `weight_decay` is at least 0.
    pub fn new(momentum: f64, weight_decay: f64) -> Self {
        Self { momentum, weight_decay, dampening: 0.0, nesterov: false, velocity: Vec::new() }
    }

    /// Sets the dampening, in `[0, 1)`: the fraction of the gradient that is not added to the velocity.
    #[must_use]
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.dampening = dampening;
        self
    }

    /// Turns Nesterov momentum on or off.
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }
}

impl Optimizer for Sgd {
    fn name(&self) -> String {
        "sgd".into()
    }

    fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()> {
        let Self { momentum, nesterov, .. } = *self;
        let dampening = if momentum > 0.0 { self.dampening } else { 0.0 };
        self.velocity.resize(params.trained().count(), None);
        for ((entry, kind), velocity) in params.trained().zip(&mut self.velocity) {
            let Some(grad) = grads.get(&entry.var) else { continue };
            let decay = if kind.is_decayed() { self.weight_decay } else { 0.0 };
            let step = SgdStep { factor, decay, momentum, dampening, nesterov, lr };
            sgd_step(&entry.var, grad, velocity, step)?;
        }
        Ok(())
    }

    fn forget(&mut self, params: &Params, weights: &[Mask]) -> Result<()> {
        forget_at(params, &mut self.velocity, weights)
    }

    fn begin(&mut self, params: &Params, weights: &[Momentum]) -> Result<()> {
        self.velocity.resize(params.trained().count(), None);
        remember_at(params, &mut self.velocity, weights)
    }

    fn state(&self, params: &Params) -> Result<OptimizerState> {
        let mut state = OptimizerState::default();
        state.put(VELOCITY, params, self.velocity.iter().map(Option::as_ref))?;
        Ok(state)
    }

    fn restore(&mut self, params: &Params, state: &OptimizerState) -> Result<()> {
        self.velocity = state.take(VELOCITY, params)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use taper_nn::{Init, ParamKind, Scope};

    #[test]
    fn two_steps_by_hand() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let weight = scope.param("weight", (1, 1), ParamKind::LinearWeight, Init::Constant(1.0))?;
        let bias = scope.param("bias", 1, ParamKind::Bias, Init::Constant(1.0))?;
        let params = scope.finish();
        let mut sgd = Sgd::new(0.5, 0.25);
        let value = |v: &candle_core::Var| v.flatten_all()?.to_vec1::<f32>().map(|v| v[0]);
        let mut given = None;
        for (want_weight, want_bias) in [(0.625, 0.75), (0.109375, 0.375)] {
            let grads = (weight.sum_all()? + bias.sum_all()?)?.backward()?;
            sgd.step(&params, &grads, 0.5, 0.5)?;
            assert_eq!((value(&weight)?, value(&bias)?), (want_weight, want_bias));
            given.get_or_insert(sgd.state(&params)?);
        }
        // The second step did not change the state saved after the first: 0.5 · 1 + 0.25 · 1.
        let given = given.expect("a state");
        assert_eq!(given.tensors["velocity/weight"].flatten_all()?.to_vec1::<f32>()?, [0.75]);
        // Steps after `restore` do not change the restored state either.
        sgd.restore(&params, &given)?;
        sgd.step(&params, &weight.sum_all()?.backward()?, 0.5, 0.5)?;
        assert_eq!(given.tensors["velocity/weight"].flatten_all()?.to_vec1::<f32>()?, [0.75]);
        Ok(())
    }

    #[test]
    fn dampening_needs_momentum() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let weight = scope.param("weight", (1, 1), ParamKind::LinearWeight, Init::Constant(0.0))?;
        let params = scope.finish();
        for (momentum, second) in [(0.0, -2.0), (0.5, -1.75)] {
            weight.set(&weight.zeros_like()?)?;
            let mut sgd = Sgd::new(momentum, 0.0).dampening(0.75);
            for wanted in [-1.0, second] {
                sgd.step(&params, &weight.sum_all()?.backward()?, 1.0, 1.0)?;
                assert_eq!(weight.to_vec2::<f32>()?, [[wanted]], "{momentum}");
            }
        }
        Ok(())
    }

    #[test]
    fn forgotten_weights_lose_their_momentum_and_others_keep_it() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        // The bias comes first: not every trained parameter is prunable.
        scope.param("bias", 3, ParamKind::Bias, one)?;
        let weight = scope.param("weight", (1, 3), ParamKind::LinearWeight, one)?;
        let params = scope.finish();
        let mut sgd = Sgd::new(0.5, 0.0);
        let grads = weight.sum_all()?.backward()?;
        sgd.step(&params, &grads, 1.0, 0.5)?;
        let mut dropped = Mask::empty(3);
        dropped.set(1, true);
        sgd.forget(&params, &[dropped])?;
        let still = weight.zeros_like()?.mul(weight.as_tensor())?.sum_all()?.backward()?;
        sgd.step(&params, &still, 1.0, 0.5)?;
        assert_eq!(weight.flatten_all()?.to_vec1::<f32>()?, [0.25, 0.5, 0.25]);
        // `begin` sets the momentum of the first weight.
        let mut first = Mask::empty(3);
        first.set(0, true);
        sgd.begin(&params, &[Momentum { weights: first, values: vec![4.0] }])?;
        sgd.step(&params, &still, 1.0, 0.5)?;
        assert_eq!(weight.flatten_all()?.to_vec1::<f32>()?, [-0.75, 0.5, 0.125]);
        let mut fresh = Sgd::new(0.5, 0.0);
        let momentum = Momentum { weights: Mask::full(3), values: vec![0.0, -1.0, 0.0] };
        fresh.begin(&params, std::slice::from_ref(&momentum))?;
        fresh.step(&params, &still, 1.0, 0.5)?;
        assert_eq!(weight.flatten_all()?.to_vec1::<f32>()?, [-0.75, 0.75, 0.125]);
        let few = Momentum { values: vec![1.0], ..momentum };
        let error = fresh.begin(&params, &[few]).unwrap_err().to_string();
        assert!(error.contains("1 values for 3 of the 3 weights of weight"), "{error}");
        let mut one_more = Mask::empty(4);
        one_more.set(3, true);
        let error = sgd.forget(&params, &[one_more]).unwrap_err().to_string();
        assert!(error.contains("has 4 weights, but weight has 3"), "{error}");
        Ok(())
    }
}
