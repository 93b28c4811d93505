//! An adapter for candle optimizers.

use super::{Optimizer, OptimizerState};
use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::Params;

/// An adapter for any optimizer that implements `candle_nn::Optimizer`.
///
/// Candle's trait gives no access to the state of an optimizer. This adapter can therefore not reset the state of
/// weights, and cannot be saved in training checkpoints. Both are errors. Methods that drop weights, or that start
/// weights again, need the reset. [`Sgd`](crate::Sgd) and [`AdamW`](crate::AdamW) support both.
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
    /// An optimizer of every trained parameter. Weight decay acts on all of them, because candle does not distinguish
    /// kinds of parameters. The learning rate in `config` has no effect: each step sets its own.
    ///
    /// # Errors
    /// If candle cannot create the optimizer.
    pub fn new(params: &Params, config: O::Config) -> Result<Self> {
        let vars: Vec<Var> = params.trained().map(|(entry, _)| entry.var.clone()).collect();
        Ok(Self { inner: O::new(vars, config)? })
    }
}

impl<O: candle_nn::Optimizer + Send> FromCandle<O> {
    /// The error for an operation that candle's trait does not offer.
    fn cannot<T>(&self, what: &str, instead: &str) -> Result<T> {
        candle_core::bail!(
            "{} {what}, because candle_nn::Optimizer gives no access to its state; use Sgd or AdamW of taper-train, or {instead}",
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
        // Only a backward pass can create a gradient store.
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
            false => self.cannot(
                "cannot reset the state of weights",
                "a method that does not drop or restart weights",
            ),
        }
    }

    fn state(&self, _params: &Params) -> Result<OptimizerState> {
        self.cannot("cannot be saved", "train without training checkpoints")
    }

    fn restore(&mut self, _params: &Params, _state: &OptimizerState) -> Result<()> {
        self.cannot("cannot be restored", "start the run again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_nn::optim::SGD;
    use taper_nn::{Init, ParamKind, Scope};

    #[test]
    fn gradients_are_scaled_and_unsupported_operations_are_errors() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let weight = scope.param("weight", (1, 2), ParamKind::LinearWeight, Init::Constant(1.0))?;
        let params = scope.finish();
        let mut sgd = FromCandle::<SGD>::new(&params, 0.0)?;
        let grads = weight.sum_all()?.backward()?;
        for (factor, wanted) in [(0.5, 0.75), (1.0, 0.25)] {
            sgd.step(&params, &grads, factor, 0.5)?;
            assert_eq!(weight.to_vec2::<f32>()?, [[wanted; 2]]);
        }
        assert!(sgd.forget(&params, &[Mask::empty(2)]).is_ok(), "the mask is empty");
        let errors = [
            sgd.forget(&params, &[Mask::full(2)]).unwrap_err(),
            sgd.state(&params).unwrap_err(),
            sgd.restore(&params, &OptimizerState::default()).unwrap_err(),
        ]
        .map(|error| error.to_string());
        for (error, part) in errors.iter().zip(["reset the state", "be saved", "be restored"]) {
            assert!(error.starts_with(&format!("candle_nn::optim::SGD cannot {part}")), "{error}");
        }
        Ok(())
    }
}
