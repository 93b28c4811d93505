//! A hyperbolic step, as in HAM.

use super::{
    cpu, in_place,
    types::{self, wide},
};
use candle_core::{Result, Tensor, Var};
use taper_kernels::hyperbolic::{self, HyperbolicStep};

/// Multiplies the values of `var` by exponentials of their gradients; see [`hyperbolic::step`].
///
/// # Errors
/// If shapes or types differ, or candle fails to compute.
pub fn hyperbolic_step(var: &Var, grad: &Tensor, step: HyperbolicStep) -> Result<()> {
    let tensors = [("variable", var.dtype()), ("gradient", grad.dtype())];
    let dtype = types::shared("hyperbolic step", &tensors)?;
    types::expect_shape("hyperbolic step", var, &[("gradient", grad)])?;
    if [var.as_tensor(), grad].iter().all(|t| cpu::has_kernels(t)) && var.is_contiguous() {
        return in_place::change("hyperbolic step", [var], grad, |grad, [weights]| {
            hyperbolic::step(step, grad, weights)
        });
    }
    let [of_grad, of_decay] = step.exponents();
    let weights = wide(var)?;
    let exponent = ((weights.sign()? * wide(grad)?.detach())?.affine(-of_grad, -of_decay))?;
    // A weight of 0 stays 0, even if the factor is infinite.
    let moved = weights.eq(0.0)?.where_cond(&weights, &(&weights * exponent.exp()?)?)?;
    var.set(&moved.to_dtype(dtype)?)
}
