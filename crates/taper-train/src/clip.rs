//! Clipping of the gradient's norm.

use candle_core::{Result, Tensor, backprop::GradStore};
use taper_nn::{
    Params,
    ops::{sum_of_squares, tensor_like, with_values},
};

/// L2 norm of the gradients of all trained parameters, and how much of it is in dead filters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradNorm {
    /// Of all trained parameters.
    pub all: f64,
    /// Of the weights of dead filters.
    pub dead: f64,
}

impl GradNorm {
    /// Sums squares in f64 and in registry order. `dead` has the dead filters of each prunable layer; it may be empty.
    ///
    /// # Errors
    /// If a gradient cannot be read from its device.
    pub fn of(params: &Params, grads: &GradStore, dead: &[Vec<usize>]) -> Result<Self> {
        let mut all = 0.0;
        for (entry, _) in params.trained() {
            if let Some(grad) = grads.get(&entry.var) {
                all += sum_of_squares(grad)?;
            }
        }
        let mut squares = 0.0;
        for ((_, var), dead) in params.prunable().zip(dead).filter(|(_, dead)| !dead.is_empty()) {
            if let Some(grad) = grads.get(var) {
                let size = filter_size(grad);
                squares += with_values(&[grad], |g| {
                    let weights = dead.iter().flat_map(|f| &g[0][f * size..(f + 1) * size]);
                    weights.map(|&g| f64::from(g) * f64::from(g)).sum::<f64>()
                })?;
            }
        }
        // Their own sum rounds otherwise, which must not make a part larger than the whole.
        Ok(Self { all: all.sqrt(), dead: squares.min(all).sqrt() })
    }

    /// Norm outside of dead filters.
    pub fn live(&self) -> f64 {
        (self.all * self.all - self.dead * self.dead).max(0.0).sqrt()
    }

    /// Share of the norm that is in dead filters, in `[0, 1]`; 0 without a gradient.
    pub fn dead_share(&self) -> f64 {
        if self.all > 0.0 { self.dead / self.all } else { 0.0 }
    }
}

/// Multiplies the gradients in dead filters.
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

fn filter_size(weight: &Tensor) -> usize {
    weight.dims().iter().skip(1).product()
}

/// Factor that brings a gradient of norm `norm` down to `max`: `min(1, max / (norm + 1e-6))`.
pub fn clip_factor(norm: f64, max: f64) -> f64 {
    (max / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_gradients_are_clipped() {
        assert_eq!(clip_factor(2.0, 3.0), 1.0);
        assert!((clip_factor(30.0, 3.0) - 0.1).abs() < 1e-8);
    }

    #[test]
    fn the_part_in_dead_filters_is_told_apart_and_scaled_alone() -> Result<()> {
        use candle_core::Device;
        use taper_nn::{Init, ParamKind, Scope};
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        let conv = scope.param("conv.weight", (3, 1, 1, 2), ParamKind::ConvWeight, one)?;
        let bias = scope.param("conv.bias", 3, ParamKind::Bias, one)?;
        let params = scope.finish();
        let slopes = Tensor::new(&[1.0f32, 2.0, 4.0, 4.0, 0.0, 2.0], &Device::Cpu)?;
        let loss =
            ((conv.flatten_all()? * slopes)?.sum_all()? + bias.sum_all()?.affine(2.0, 0.0)?)?;
        let mut grads = loss.backward()?;
        let dead = [vec![1usize]];
        let norm = GradNorm::of(&params, &grads, &dead)?;
        // 1 + 4 + 16 + 16 + 4 in the weights, and three times 4 in the bias.
        assert_eq!((norm.all, norm.dead), (53f64.sqrt(), 32f64.sqrt()));
        assert!((norm.live() - 21f64.sqrt()).abs() < 1e-12);
        assert!((norm.dead_share() - (32.0f64 / 53.0).sqrt()).abs() < 1e-12);
        assert_eq!(GradNorm::of(&params, &grads, &[])?.dead, 0.0);
        scale_dead(&params, &mut grads, &dead, 0.25)?;
        let scaled = grads.get(&conv).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(scaled, [1.0, 2.0, 1.0, 1.0, 0.0, 2.0]);
        Ok(())
    }
}
