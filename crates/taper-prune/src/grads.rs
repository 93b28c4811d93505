//! Gradients as slices.

use candle_core::{Var, backprop::GradStore};
use taper_kernels::mask::Mask;
use taper_nn::ops::{tensor_like, with_values};

/// The gradient of each layer; zeros for a layer without one.
pub(crate) fn of_layers<'a>(
    vars: impl Iterator<Item = &'a Var>,
    grads: &GradStore,
) -> candle_core::Result<Vec<Vec<f32>>> {
    let layers = vars.map(|var| match grads.get(var) {
        Some(grad) => with_values(&[grad], |g| g[0].to_vec()),
        None => Ok(vec![0.0; var.elem_count()]),
    });
    layers.collect()
}

/// Changes the gradient of a variable, if it has one.
pub(crate) fn change(
    grads: &mut GradStore,
    var: &Var,
    change: impl FnOnce(&mut [f32]),
) -> candle_core::Result<()> {
    if let Some(grad) = grads.get(var) {
        let mut values = with_values(&[grad], |g| g[0].to_vec())?;
        change(&mut values);
        let grad = tensor_like(values, grad)?;
        grads.insert(var, grad);
    }
    Ok(())
}

/// Adds `λ·w` to the gradient of a variable, for the weights of each mask with its λ.
pub(crate) fn add_decay(
    grads: &mut GradStore,
    var: &Var,
    parts: &[(&Mask, f32)],
) -> candle_core::Result<()> {
    with_values(&[var.as_tensor()], |w| {
        change(grads, var, |grad| {
            for (mask, lambda) in parts {
                mask.kept().for_each(|i| grad[i] = lambda.mul_add(w[0][i], grad[i]));
            }
        })
    })?
}
