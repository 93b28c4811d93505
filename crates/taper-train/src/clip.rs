//! Gradient clipping.

use candle_core::{Result, Tensor, backprop::GradStore};
use taper_nn::{
    Params,
    ops::{tensor_like, with_values},
};

/// Multiplies the gradients of dead filters by `factor`. `dead` lists the dead filters of each prunable layer.
///
/// # Errors
/// If a gradient cannot be read from its device, or written to it.
pub(crate) fn scale_dead(
    params: &Params,
    grads: &mut GradStore,
    dead: &[Vec<usize>],
    factor: f32,
) -> Result<()> {
    for ((_, var), dead) in params.prunable().zip(dead).filter(|(_, dead)| !dead.is_empty()) {
        if let Some(grad) = grads.get(var) {
            let size = filter_size(grad);
            let mut values = with_values(&[grad], |g| g[0].to_vec())?;
            for filter in dead {
                values[filter * size..(filter + 1) * size].iter_mut().for_each(|g| *g *= factor);
            }
            let scaled = tensor_like(values, grad)?;
            grads.insert(var, scaled);
        }
    }
    Ok(())
}

/// Number of weights of an output channel.
pub(crate) fn filter_size(weight: &Tensor) -> usize {
    weight.dims().iter().skip(1).product()
}

/// The factor that clips a gradient of norm `norm` to `max`: `min(1, max / (norm + 1e-6))`.
pub fn clip_factor(norm: f64, max: f64) -> f64 {
    (max / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_gradients_are_clipped() {
        assert_eq!(clip_factor(1e-6, 1e-6), 0.5, "PyTorch's constant");
        assert_eq!(clip_factor(2.0, 3.0), 1.0);
        assert!((clip_factor(30.0, 3.0) - 0.1).abs() < 1e-8);
    }

    #[test]
    fn gradients_in_dead_filters_are_scaled_alone() -> Result<()> {
        use candle_core::Device;
        use taper_nn::{Init, ParamKind, Scope};
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        let conv = scope.param("conv.weight", (3, 1, 1, 2), ParamKind::ConvWeight, one)?;
        let params = scope.finish();
        let slopes = Tensor::new(&[1.0f32, 2.0, 4.0, 4.0, 0.0, 2.0], &Device::Cpu)?;
        let mut grads = (conv.flatten_all()? * slopes)?.sum_all()?.backward()?;
        scale_dead(&params, &mut grads, &[vec![1]], 0.25)?;
        let scaled = grads.get(&conv).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(scaled, [1.0, 2.0, 1.0, 1.0, 0.0, 2.0]);
        Ok(())
    }
}
