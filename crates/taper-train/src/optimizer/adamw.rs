//! Adam with decoupled weight decay.

use super::{Optimizer, OptimizerState, forget_at};
use candle_core::{Result, Tensor, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::{
    Params,
    ops::{AdamWStep, adamw_step},
};

/// Names in checkpoints, as in PyTorch.
const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];
const STEPS: &str = "step";

/// AdamW, as in PyTorch.
///
/// ```text
/// g = factor·grad
/// m ← m + (1 − β₁)·(g − m)
/// v ← β₂·v + (1 − β₂)·g²
/// w ← (1 − lr·decay)·w − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)
/// ```
///
/// t counts the steps of a parameter from 1. Weight decay acts only on the weights of convolutions and linear layers.
/// [`forget`](Optimizer::forget) sets the moments of a weight to 0, but does not reset t. The next updates of this
/// weight are up to (1 − β₁) / √(1 − β₂) times the learning rate; with the defaults, 3.2 times.
///
/// Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101.
///
/// In your own training loop:
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use taper_nn::{Init, Linear, Pass, Scope};
/// use taper_train::{AdamW, Optimizer, cross_entropy};
///
/// let scope = Scope::new(0, &Device::Cpu);
/// let layer = Linear::new(&scope.pp("linear"), 4, 2, Init::Uniform)?;
/// let params = scope.finish();
/// let x = Tensor::new(&[[1f32, 0., 0., 1.], [0., 1., 1., 0.]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1], &Device::Cpu)?;
///
/// let mut adamw = AdamW::new(0.01);
/// let mut losses = Vec::new();
/// for _ in 0..20 {
///     let loss = cross_entropy(&layer.forward(&x, &Pass::eval().with_gradients())?.tensor()?, &labels, 0.0)?;
///     losses.push(loss.to_scalar::<f32>()?);
///     adamw.step(&params, &loss.backward()?, 1.0, 0.05)?;
/// }
/// assert!(losses[19] < 0.5 * losses[0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdamW {
    weight_decay: f64,
    betas: [f64; 2],
    eps: f64,
    of_each: Vec<Remembered>,
}

/// The state of one parameter.
#[derive(Clone, Debug, Default)]
struct Remembered {
    /// `None` before the first gradient.
    moments: Option<[Tensor; 2]>,
    n_steps: u64,
}

impl AdamW {
    /// AdamW without moments yet, with β₁ = 0.9, β₂ = 0.999 and eps = 1e-8. `weight_decay` is at least 0.
    pub fn new(weight_decay: f64) -> Self {
        Self { weight_decay, betas: [0.9, 0.999], eps: 1e-8, of_each: Vec::new() }
    }

    /// Sets β₁ and β₂, the coefficients of the moving averages of the first and second moment, in `[0, 1)`.
    #[must_use]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        self.betas = [beta1, beta2];
        self
    }

    /// Sets eps, which is added to the root of the second moment. It must be above 0.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }
}

impl Optimizer for AdamW {
    fn name(&self) -> String {
        "adamw".into()
    }

    fn step(&mut self, params: &Params, grads: &GradStore, factor: f64, lr: f64) -> Result<()> {
        let Self { betas, eps, .. } = *self;
        self.of_each.resize_with(params.trained().count(), Remembered::default);
        for ((entry, kind), remembered) in params.trained().zip(&mut self.of_each) {
            let Some(grad) = grads.get(&entry.var) else { continue };
            remembered.n_steps += 1;
            let decay = if kind.is_decayed() { self.weight_decay } else { 0.0 };
            let step = AdamWStep { factor, decay, betas, eps, lr, number: remembered.n_steps };
            adamw_step(&entry.var, grad, &mut remembered.moments, step)?;
        }
        Ok(())
    }

    fn forget(&mut self, params: &Params, weights: &[Mask]) -> Result<()> {
        let [mut means, mut squares] = self.moments();
        forget_at(params, &mut means, weights)?;
        forget_at(params, &mut squares, weights)?;
        self.set_moments([means, squares]);
        Ok(())
    }

    fn state(&self, params: &Params) -> Result<OptimizerState> {
        let mut state = OptimizerState::default();
        for (what, of_each) in MOMENTS.into_iter().zip(self.moments()) {
            state.put(what, params, of_each.iter().map(Option::as_ref))?;
        }
        for ((entry, _), remembered) in params.trained().zip(&self.of_each) {
            if remembered.n_steps > 0 {
                let n_steps = remembered.n_steps as f64;
                state.numbers.insert(format!("{STEPS}/{}", entry.name), n_steps);
            }
        }
        Ok(state)
    }

    fn restore(&mut self, params: &Params, state: &OptimizerState) -> Result<()> {
        let [means, squares] = MOMENTS.map(|what| state.take(what, params));
        let moments = [means?, squares?];
        let mut of_each = Vec::new();
        for (i, (entry, _)) in params.trained().enumerate() {
            let n_steps = state.numbers.get(&format!("{STEPS}/{}", entry.name)).copied();
            let n_steps = n_steps.unwrap_or(0.0);
            let n_known = moments.iter().filter(|of_each| of_each[i].is_some()).count();
            let is_whole = n_steps.fract() == 0.0 && (0.0..=MAX_STEPS).contains(&n_steps);
            if !is_whole || n_known != if n_steps > 0.0 { 2 } else { 0 } {
                candle_core::bail!(
                    "{n_steps} steps and {n_known} moments of {} are not a valid state of adamw; use another checkpoint",
                    entry.name
                )
            }
            of_each.push(Remembered { moments: None, n_steps: n_steps as u64 });
        }
        self.of_each = of_each;
        self.set_moments(moments);
        Ok(())
    }
}

/// The largest number of steps that an f64 of a checkpoint stores exactly.
const MAX_STEPS: f64 = (1u64 << 53) as f64;

impl AdamW {
    /// The first moments of all parameters, and the second ones.
    fn moments(&self) -> [Vec<Option<Tensor>>; 2] {
        let moment = |which: usize| {
            let of = |r: &Remembered| r.moments.as_ref().map(|moments| moments[which].clone());
            self.of_each.iter().map(of).collect()
        };
        [moment(0), moment(1)]
    }

    fn set_moments(&mut self, [means, squares]: [Vec<Option<Tensor>>; 2]) {
        for ((remembered, mean), square) in self.of_each.iter_mut().zip(means).zip(squares) {
            remembered.moments = mean.zip(square).map(|(mean, square)| [mean, square]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use taper_nn::{Init, ParamKind, Scope};

    fn two() -> Result<(Var, Var, Params)> {
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        let bias = scope.param("bias", 2, ParamKind::Bias, one)?;
        let weight = scope.param("weight", (1, 2), ParamKind::LinearWeight, one)?;
        Ok((bias, weight, scope.finish()))
    }

    fn values(var: &Var) -> Result<Vec<f32>> {
        var.flatten_all()?.to_vec1()
    }

    #[test]
    fn decay_acts_on_weights_and_steps_count_by_parameter() -> Result<()> {
        let (bias, weight, params) = two()?;
        let mut adamw = AdamW::new(0.5).betas(0.5, 0.75).eps(1.0);
        // g = 1, so both corrected moments are 1; eps doubles the denominator.
        adamw.step(&params, &weight.sum_all()?.backward()?, 1.0, 0.5)?;
        assert_eq!(values(&weight)?, [0.5, 0.5]);
        assert_eq!(values(&bias)?, [1.0, 1.0], "it has no gradient");
        let both = (weight.sum_all()? + bias.sum_all()?)?;
        adamw.step(&params, &both.backward()?, 1.0, 0.5)?;
        assert_eq!(values(&bias)?, [0.75, 0.75], "its first step, without decay");
        let state = adamw.state(&params)?;
        assert_eq!(state.numbers, [("step/bias".into(), 1.0), ("step/weight".into(), 2.0)].into());
        assert_eq!(state.tensors["exp_avg/bias"].to_vec1::<f32>()?, [0.5, 0.5]);
        assert_eq!(state.tensors["exp_avg_sq/bias"].to_vec1::<f32>()?, [0.25, 0.25]);
        Ok(())
    }

    #[test]
    fn forgotten_weights_lose_their_moments_and_others_keep_them() -> Result<()> {
        let (_, weight, params) = two()?;
        let mut adamw = AdamW::new(0.0);
        adamw.step(&params, &weight.sum_all()?.backward()?, 1.0, 0.25)?;
        let before = values(&weight)?;
        let mut second = Mask::empty(2);
        second.set(1, true);
        adamw.forget(&params, &[second])?;
        for (what, moment) in adamw.state(&params)?.tensors {
            let moment = moment.flatten_all()?.to_vec1::<f32>()?;
            assert!(moment[0] > 0.0 && moment[1] == 0.0, "{what}: {moment:?}");
        }
        let still = weight.zeros_like()?.mul(weight.as_tensor())?.sum_all()?.backward()?;
        adamw.step(&params, &still, 1.0, 0.25)?;
        let after = values(&weight)?;
        assert!(after[0] < before[0] && after[1] == before[1], "{before:?} {after:?}");
        Ok(())
    }

    #[test]
    fn a_restored_state_continues_bit_for_bit_and_an_invalid_one_is_an_error() -> Result<()> {
        let (bias, weight, params) = two()?;
        let loss = || (weight.sqr()?.sum_all()? + bias.sum_all()?)?.backward();
        let mut adamw = AdamW::new(0.01);
        for _ in 0..3 {
            adamw.step(&params, &loss()?, 0.5, 0.1)?;
        }
        let (state, saved) = (adamw.state(&params)?, weight.copy()?);
        adamw.step(&params, &loss()?, 0.5, 0.1)?;
        let wanted = values(&weight)?;
        weight.set(&saved)?;
        let mut resumed = AdamW::new(0.01);
        resumed.restore(&params, &state)?;
        resumed.step(&params, &loss()?, 0.5, 0.1)?;
        assert_eq!(values(&weight)?, wanted);

        let refused = |change: &dyn Fn(&mut OptimizerState)| {
            let mut state = state.clone();
            change(&mut state);
            resumed.clone().restore(&params, &state).unwrap_err().to_string()
        };
        let lost = refused(&|state| {
            state.tensors.remove("exp_avg/weight");
        });
        assert!(lost.contains("3 steps and 1 moments of weight"), "{lost}");
        for number in [0.0, 0.5, -1.0, f64::NAN, f64::INFINITY] {
            let wrong = refused(&|state| {
                state.numbers.insert("step/bias".into(), number);
            });
            assert!(wrong.contains("2 moments of bias"), "{wrong}");
        }
        let other = refused(&|state| {
            let moment = state.tensors["exp_avg/bias"].clone();
            state.tensors.insert("exp_avg/weight".into(), moment);
        });
        assert!(other.contains("exp_avg of weight has shape [2] where the model has [1, 2]"));
        Ok(())
    }
}
