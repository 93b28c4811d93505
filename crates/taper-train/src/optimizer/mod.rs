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

/// Moves the trained parameters of a network by their gradients.
///
/// An optimizer that remembers nothing needs [`name`](Self::name) and [`step`](Self::step) alone. Here is one that moves every
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
/// A run takes it as `run.optimizer = Box::new(SignSgd)`.
pub trait Optimizer: Send {
    /// Its name in checkpoints: a run goes on with an optimizer of the name that it was saved with.
    fn name(&self) -> String;

    /// Moves every trained parameter that has a gradient.
    ///
    /// `factor`, in `(0, 1]`, scales the gradients, for clipping. `lr` is the learning rate of the step.
    ///
    /// # Errors
    /// If candle fails to compute.
    fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()>;

    /// Forgets what it remembers of weights, given as a mask for each prunable layer in the order of
    /// [`Params::prunable`]: weights that are dropped, or that begin anew.
    ///
    /// Forgets nothing unless implemented; [`forget_at`] helps.
    ///
    /// # Errors
    /// If what it remembers cannot be read or written.
    fn forget(&mut self, _params: &Params, _weights: &[Mask]) -> Result<()> {
        Ok(())
    }

    /// Gives weights of each prunable layer a momentum, in the order of [`Params::prunable`]. [`forget`](Self::forget) has been
    /// called for them before.
    ///
    /// An error unless implemented; [`remember_at`] helps.
    ///
    /// # Errors
    /// If it has no momentum, or cannot write it.
    fn begin(&mut self, _params: &Params, _weights: &[Momentum]) -> Result<()> {
        candle_core::bail!(
            "optimizer {} has no momentum that weights could begin with; let them begin without, or take Sgd",
            self.name()
        )
    }

    /// A copy of all that it remembers, for a checkpoint. Nothing unless implemented.
    ///
    /// # Errors
    /// If candle cannot copy, or the optimizer cannot give its state.
    fn state(&self, _params: &Params) -> Result<OptimizerState> {
        Ok(OptimizerState::default())
    }

    /// Takes back what [`state`](Self::state) gave: the steps that follow are to the bit those that followed then.
    ///
    /// # Errors
    /// If the state is not of such an optimizer and such parameters. Unless implemented, a state that is not empty is an
    /// error.
    fn restore(&mut self, _params: &Params, state: &OptimizerState) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        candle_core::bail!(
            "optimizer {} takes no state back; implement Optimizer::restore beside Optimizer::state",
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

    /// Remembers nothing, and implements no more than it must.
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
    fn one_that_remembers_nothing_forgets_and_goes_on_and_takes_no_state_of_another() -> Result<()>
    {
        let (mut still, params) = (Box::new(Still) as Box<dyn Optimizer>, Params::default());
        still.forget(&params, &[Mask::full(3)])?;
        let state = still.state(&params)?;
        assert!(state.is_empty());
        let error = still.begin(&params, &[]).unwrap_err().to_string();
        assert!(error.contains("optimizer still has no momentum"), "{error}");
        still.restore(&params, &state)?;
        let tensor = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
        let (mut of_tensors, mut of_numbers) = (state.clone(), state);
        of_tensors.tensors.insert("velocity/weight".into(), tensor);
        of_numbers.numbers.insert("step".into(), 1.0);
        for state in [of_tensors, of_numbers] {
            let error = still.restore(&params, &state).unwrap_err().to_string();
            assert!(error.contains("optimizer still takes no state back"), "{error}");
        }
        Ok(())
    }
}
