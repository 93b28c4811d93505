//! Optimizers that implement candle's own trait.

use super::{Optimizer, OptimizerState};
use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::Params;

/// An optimizer of `candle_nn`, or of any crate that implements `candle_nn::Optimizer`.
///
/// Candle's trait has no way to what an optimizer remembers. So this one cannot forget weights, which methods that drop weights
/// or begin them anew ask for, and a run with it cannot write training checkpoints. Both are errors. [`Sgd`](crate::Sgd) and
/// [`AdamW`](crate::AdamW) can do both.
///
/// ```
/// use candle_core::Device;
/// use candle_nn::optim::{AdamW, ParamsAdamW};
/// use taper_nn::{Init, ParamKind, Scope};
/// use taper_train::{FromCandle, Optimizer};
///
/// let scope = Scope::new(0, &Device::Cpu);
/// let weight = scope.param("weight", (1, 1), ParamKind::LinearWeight, Init::Constant(1.0))?;
/// let params = scope.finish();
/// let mut adamw = FromCandle::<AdamW>::new(&params, ParamsAdamW { weight_decay: 0.0, ..Default::default() })?;
/// adamw.step(&params, &weight.sum_all()?.backward()?, 1.0, 0.25)?;
/// assert!((weight.to_vec2::<f32>()?[0][0] - 0.75).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FromCandle<O> {
    inner: O,
}

impl<O: candle_nn::Optimizer> FromCandle<O> {
    /// One that moves every trained parameter. Decay acts on all of them, as candle does not know kinds of parameters. The
    /// learning rate of `config` is that of no step.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(params: &Params, config: O::Config) -> Result<Self> {
        let vars: Vec<Var> = params.trained().map(|(entry, _)| entry.var.clone()).collect();
        Ok(Self { inner: O::new(vars, config)? })
    }
}

impl<O: candle_nn::Optimizer + Send> FromCandle<O> {
    /// The error of what candle's trait does not offer.
    fn cannot<T>(&self, what: &str, instead: &str) -> Result<T> {
        candle_core::bail!(
            "{} {what}, as candle_nn::Optimizer gives no access to what it remembers; use Sgd or AdamW of taper-train, or {instead}",
            self.name()
        )
    }
}

impl<O: candle_nn::Optimizer + Send> Optimizer for FromCandle<O> {
    fn name(&self) -> String {
        std::any::type_name::<O>().into()
    }

    fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()> {
        self.inner.set_learning_rate(lr);
        if factor == 1.0 {
            return self.inner.step(grads);
        }
        // A store is made by a backward pass alone.
        let mut scaled = Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()?;
        for (entry, _) in params.trained() {
            if let Some(grad) = grads.get(&entry.var) {
                scaled.insert(&entry.var, (grad * factor)?);
            }
        }
        self.inner.step(&scaled)
    }

    fn forget(&mut self, _params: &Params, weights: &[Mask]) -> Result<()> {
        match weights.iter().all(|weights| weights.n_kept() == 0) {
            true => Ok(()),
            false => self.cannot("cannot forget weights", "a method that drops none"),
        }
    }

    fn state(&self, _params: &Params) -> Result<OptimizerState> {
        self.cannot("cannot be saved", "train without training checkpoints")
    }

    fn restore(&mut self, _params: &Params, _state: &OptimizerState) -> Result<()> {
        self.cannot("cannot be restored", "begin the run anew")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_nn::optim::SGD;
    use taper_nn::{Init, ParamKind, Scope};

    #[test]
    fn gradients_are_scaled_and_what_it_cannot_do_is_an_error() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let weight = scope.param("weight", (1, 2), ParamKind::LinearWeight, Init::Constant(1.0))?;
        let params = scope.finish();
        let mut sgd = FromCandle::<SGD>::new(&params, 0.0)?;
        let grads = weight.sum_all()?.backward()?;
        for (factor, wanted) in [(0.5, 0.75), (1.0, 0.25)] {
            sgd.step(&params, &grads, factor, 0.5)?;
            assert_eq!(weight.to_vec2::<f32>()?, [[wanted; 2]]);
        }
        assert!(sgd.forget(&params, &[Mask::empty(2)]).is_ok(), "nothing is to be forgotten");
        let errors = [
            sgd.forget(&params, &[Mask::full(2)]).unwrap_err(),
            sgd.state(&params).unwrap_err(),
            sgd.restore(&params, &OptimizerState::default()).unwrap_err(),
        ]
        .map(|error| error.to_string());
        for (error, part) in errors.iter().zip(["forget weights", "be saved", "be restored"]) {
            assert!(error.starts_with(&format!("candle_nn::optim::SGD cannot {part}")), "{error}");
        }
        Ok(())
    }
}
