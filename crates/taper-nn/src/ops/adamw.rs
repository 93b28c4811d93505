//! A step of AdamW.

use super::{
    cpu, in_place,
    types::{self, wide},
};
use candle_core::{Result, Tensor, Var};
use taper_kernels::adamw::{self, AdamWStep, Corrected};

/// Updates `var` with `grad`; see [`adamw::step`]. `moments` is `None` before the first gradient, and is updated in
/// place from then on.
///
/// Weights in f16 and bf16 are updated in f32 and rounded once. A step of less than half the distance to the
/// neighbouring number does not change them.
///
/// # Errors
/// If shapes or types differ, or candle fails to compute.
pub fn adamw_step(
    var: &Var,
    grad: &Tensor,
    moments: &mut Option<[Tensor; 2]>,
    step: AdamWStep,
) -> Result<()> {
    let dtype = types::shared("adamw", &[("variable", var.dtype()), ("gradient", grad.dtype())])?;
    types::expect_shape("adamw", var, &[("gradient", grad)])?;
    let [mean, square] = match moments {
        Some(before) => before,
        None => moments.insert([grad.zeros_like()?, grad.zeros_like()?]),
    };
    let others = [("mean", &*mean), ("mean square", &*square)];
    types::expect_shape("adamw", var, &others)?;
    if [var.as_tensor(), grad].iter().all(|t| cpu::has_kernels(t)) && var.is_contiguous() {
        return in_place::change("adamw", [var, mean, square], grad, |grad, [w, mean, square]| {
            adamw::step(step, grad, mean, square, w)
        });
    }
    let Corrected { left, rate, root } = step.corrected();
    let [beta1, beta2] = step.betas;
    let slope = (wide(grad)?.detach() * step.factor)?;
    let before = wide(mean)?;
    let next_mean = (&before + ((&slope - &before)? * (1.0 - beta1))?)?;
    let next_square = ((wide(square)? * beta2)? + (slope.sqr()? * (1.0 - beta2))?)?;
    let scale = ((next_square.sqrt()? / root)? + step.eps)?;
    let moved = ((wide(var)? * left)? - ((&next_mean / scale)? * rate)?)?;
    var.set(&moved.to_dtype(dtype)?)?;
    *mean = next_mean.to_dtype(dtype)?;
    *square = next_square.to_dtype(dtype)?;
    Ok(())
}
