//! Gradients as slices.

use candle_core::{DType, Tensor, Var, backprop::GradStore};
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

/// Changes the gradient of a variable, if it has one. Changed numbers are rounded to f32; all others stay as they are,
/// in f64 too.
pub(crate) fn change(
    grads: &mut GradStore,
    var: &Var,
    change: impl FnOnce(&mut [f32]),
) -> candle_core::Result<()> {
    if let Some(grad) = grads.get(var) {
        let before = with_values(&[grad], |g| g[0].to_vec())?;
        let mut values = before.clone();
        change(&mut values);
        let changed = match grad.dtype() {
            DType::F64 => {
                let mut exact = grad.flatten_all()?.to_vec1::<f64>()?;
                let both = before.iter().zip(&values);
                let both =
                    both.map(|(before, after)| (before.to_bits() != after.to_bits(), *after));
                for (exact, (is_changed, after)) in exact.iter_mut().zip(both) {
                    if is_changed {
                        *exact = after.into();
                    }
                }
                Tensor::from_vec(exact, grad.dims(), grad.device())?
            }
            _ => tensor_like(values, grad)?,
        };
        grads.insert(var, changed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn numbers_that_do_not_change_keep_all_their_bits() -> candle_core::Result<()> {
        let exact = [1.0 + 1e-12, 1e300, -0.1, 3.0];
        let var = Var::new(&[2.0f64; 4], &Device::Cpu)?;
        let slope = Tensor::new(&exact, &Device::Cpu)?;
        let mut grads = (var.as_tensor() * slope)?.sum_all()?.backward()?;
        change(&mut grads, &var, |grad| grad[3] = 0.5)?;
        let found = grads.get(&var).expect("a gradient").to_vec1::<f64>()?;
        assert_eq!(found, [exact[0], exact[1], exact[2], 0.5]);
        Ok(())
    }
}
