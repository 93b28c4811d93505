//! Stochastic gradient descent with momentum and decay.

use candle_core::{Result, Tensor, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::{
    Params,
    ops::{SgdStep, sgd_step, tensor_like, with_values},
};

/// SGD as PyTorch's: no dampening, no Nesterov, the first velocity is the gradient itself.
///
/// ```text
/// g ← factor·grad + decay·w        (decay on weights of convolutions and linear layers alone)
/// v ← momentum·v + g
/// w ← w − lr·v
/// ```
#[derive(Clone, Debug)]
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    velocity: Vec<Option<Tensor>>,
}

impl Sgd {
    /// An optimizer without velocity yet.
    pub fn new(momentum: f64, weight_decay: f64) -> Self {
        Self { momentum, weight_decay, velocity: Vec::new() }
    }

    /// Moves every parameter that has a gradient. `factor` scales the gradients, for clipping.
    ///
    /// # Errors
    /// If candle fails to compute.
    pub fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()> {
        self.velocity.resize(params.trained().count(), None);
        for ((entry, kind), velocity) in params.trained().zip(&mut self.velocity) {
            let Some(grad) = grads.get(&entry.var) else { continue };
            let decay = if kind.is_decayed() { self.weight_decay } else { 0.0 };
            let step = SgdStep { factor, decay, momentum: self.momentum, lr };
            sgd_step(&entry.var, grad, velocity, step)?;
        }
        Ok(())
    }

    /// Forgets the velocity of weights that are no longer trained, given as a mask of each prunable layer.
    ///
    /// # Errors
    /// If a velocity cannot be read from its device, or written to it.
    pub fn forget(&mut self, params: &Params, weights: &[Mask]) -> Result<()> {
        let trained = params.trained().zip(&mut self.velocity);
        let prunable = trained.filter(|((_, kind), _)| kind.is_prunable()).map(|(_, v)| v);
        for (velocity, weights) in prunable.zip(weights) {
            let Some(moving) = velocity.as_ref().filter(|_| weights.n_kept() > 0) else { continue };
            let mut values = with_values(&[moving], |v| v[0].to_vec())?;
            weights.kept().for_each(|index| values[index] = 0.0);
            let stopped = tensor_like(values, moving)?;
            *velocity = Some(stopped);
        }
        Ok(())
    }

    /// A copy of the velocity of each trained parameter, in registry order; `None` before its first gradient.
    ///
    /// # Errors
    /// If candle cannot copy.
    pub fn velocity(&self) -> Result<Vec<Option<Tensor>>> {
        copies(&self.velocity)
    }

    /// Takes back what [`velocity`](Self::velocity) gave.
    ///
    /// # Errors
    /// If candle cannot copy.
    pub fn restore(&mut self, velocity: &[Option<Tensor>]) -> Result<()> {
        self.velocity = copies(velocity)?;
        Ok(())
    }
}

/// Steps change velocities in place, which whoever holds one elsewhere must not see.
fn copies(velocity: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    velocity.iter().map(|v| v.as_ref().map(Tensor::copy).transpose()).collect()
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
            given.get_or_insert(sgd.velocity()?);
        }
        // What was given after the first step is still what it was: 0.5 · 1 + 0.25 · 1.
        let given = given.and_then(|given| given[0].clone()).expect("a velocity");
        assert_eq!(given.flatten_all()?.to_vec1::<f32>()?, [0.75]);
        Ok(())
    }

    #[test]
    fn what_is_forgotten_stops_and_the_rest_goes_on() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        // A bias first, as not every trained parameter is prunable.
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
        Ok(())
    }
}
