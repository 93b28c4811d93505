//! Optimizers.

mod adamw;
mod candle;
mod ham;
mod memory;
mod sgd;

pub use adamw::AdamW;
pub use candle::FromCandle;
pub use ham::Ham;
pub use memory::{OptimizerState, forget_at, remember_at};
pub use sgd::Sgd;

use candle_core::{Result, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::Params;
use taper_prune::Momentum;

/// Updates the trained parameters of a network from their gradients.
///
/// An optimizer without state needs only [`name`](Self::name) and [`step`](Self::step). This example moves every
/// parameter by the learning rate, against the sign of its gradient:
///
/// ```
/// use candle_core::{Device, Result, backprop::GradStore};
/// use taper_nn::{Init, ParamKind, Params, Scope};
/// use taper_train::Optimizer;
///
/// struct SignSgd;
///
/// impl Optimizer for SignSgd {
///     fn name(&self) -> String {
///         "sign-sgd".into()
///     }
///
///     fn step(&mut self, params: &Params, grads: &GradStore, _factor: f64, lr: f64) -> Result<()> {
///         for (entry, _) in params.trained() {
///             if let Some(grad) = grads.get(&entry.var) {
///                 entry.var.set(&(entry.var.as_tensor() - (grad.sign()? * lr)?)?)?;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// let scope = Scope::new(0, &Device::Cpu);
/// let weight = scope.param("weight", (1, 2), ParamKind::LinearWeight, Init::Constant(1.0))?;
/// let grads = (weight.as_tensor() * 3.0)?.sum_all()?.backward()?;
/// SignSgd.step(&scope.finish(), &grads, 1.0, 0.25)?;
/// assert_eq!(weight.to_vec2::<f32>()?, [[0.75, 0.75]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// To use it in a run: `run.optimizer = Box::new(SignSgd)`.
pub trait Optimizer: Send {
    /// The name in checkpoints. A run can only resume with an optimizer of the same name.
    fn name(&self) -> String;

    /// Updates every trained parameter that has a gradient.
    ///
    /// `factor`, in `(0, 1]`, scales the gradients (clipping). `lr` is the learning rate of the step.
    ///
    /// # Errors
    /// If a computation fails.
    fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()>;

    /// Resets the state of some weights, such as their momentum. `weights` has a mask for each prunable layer, in the
    /// order of [`Params::prunable`]. These weights were permanently pruned, or start again from a new value.
    ///
    /// The default does nothing. [`forget_at`] helps to implement it.
    ///
    /// # Errors
    /// If the state cannot be read or written.
    fn forget(&mut self, _params: &Params, _weights: &[Mask]) -> Result<()> {
        Ok(())
    }

    /// Sets the momentum of some weights of each prunable layer, in the order of [`Params::prunable`]. The caller has
    /// called [`forget`](Self::forget) for these weights before.
    ///
    /// The default is an error. [`remember_at`] helps to implement it.
    ///
    /// # Errors
    /// If the optimizer has no momentum, or cannot write it.
    fn begin(&mut self, _params: &Params, _weights: &[Momentum]) -> Result<()> {
        candle_core::bail!(
            "optimizer {} cannot set the momentum of regrown weights; let them start without momentum, or use Sgd",
            self.name()
        )
    }

    /// A copy of the state, for a checkpoint. The default is an empty state.
    ///
    /// # Errors
    /// If a tensor cannot be copied, or the optimizer gives no access to its state.
    fn state(&self, _params: &Params) -> Result<OptimizerState> {
        Ok(OptimizerState::default())
    }

    /// Restores a state that [`state`](Self::state) returned. The steps that follow are bit-identical to the original
    /// ones.
    ///
    /// # Errors
    /// If the state does not fit the optimizer or the parameters. The default accepts only an empty state.
    fn restore(&mut self, _params: &Params, state: &OptimizerState) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        candle_core::bail!(
            "optimizer {} cannot restore a state; implement both Optimizer::state and Optimizer::restore",
            self.name()
        )
    }
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()> {
        (**self).step(params, grads, factor, lr)
    }

    fn forget(&mut self, params: &Params, weights: &[Mask]) -> Result<()> {
        (**self).forget(params, weights)
    }

    fn begin(&mut self, params: &Params, weights: &[Momentum]) -> Result<()> {
        (**self).begin(params, weights)
    }

    fn state(&self, params: &Params) -> Result<OptimizerState> {
        (**self).state(params)
    }

    fn restore(&mut self, params: &Params, state: &OptimizerState) -> Result<()> {
        (**self).restore(params, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    /// Has no state, and implements only the required functions.
    struct Still;

    impl Optimizer for Still {
        fn name(&self) -> String {
            "still".into()
        }

        fn step(&mut self, _: &Params, _: &GradStore, _: f64, _: f64) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_optimizer_without_state_restores_only_an_empty_state() -> Result<()> {
        let (mut still, params) = (Box::new(Still) as Box<dyn Optimizer>, Params::default());
        still.forget(&params, &[Mask::full(3)])?;
        let state = still.state(&params)?;
        assert!(state.is_empty());
        let error = still.begin(&params, &[]).unwrap_err().to_string();
        assert!(error.contains("optimizer still cannot set the momentum"), "{error}");
        still.restore(&params, &state)?;
        let tensor = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
        let (mut of_tensors, mut of_numbers) = (state.clone(), state);
        of_tensors.tensors.insert("velocity/weight".into(), tensor);
        of_numbers.numbers.insert("step".into(), 1.0);
        for state in [of_tensors, of_numbers] {
            let error = still.restore(&params, &state).unwrap_err().to_string();
            assert!(error.contains("optimizer still cannot restore a state"), "{error}");
        }
        Ok(())
    }
}
