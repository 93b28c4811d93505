//! Powerpropagation: weights are powers of the learned parameters.

use super::{Gated, Operator};
use rayon::prelude::*;

/// The network uses the weight `w = v·|v|^(α − 1)` of a learned parameter `v`. The gradient of `v` is therefore
/// `α·|v|^(α − 1)` times that of `w`: small weights stay small. A new run starts from the `v` that give the initial
/// weights `w`.
///
/// For α above 1, a weight of 0 has no gradient, so masks must not regrow weights from 0.
///
/// # References
/// Schwarz et al., "Powerpropagation" (arXiv:2110.00296).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerPropagation {
    /// α, at least 1; 1 changes nothing.
    pub alpha: f32,
}

impl PowerPropagation {
    /// `|v|^power` of each weight.
    fn powers(self, weights: &[f32], power: f32) -> impl IndexedParallelIterator<Item = f32> {
        weights.par_iter().with_min_len(1 << 12).map(move |v| match power {
            1.0 => v.abs(),
            2.0 => v * v,
            _ => libm::powf(v.abs(), power),
        })
    }
}

impl Operator for PowerPropagation {
    fn moves_zeros(&self) -> bool {
        self.alpha <= 1.0
    }

    fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        let of_layer = |layer: &Gated| {
            let powers = self.powers(layer.weights, self.alpha);
            Some(powers.zip(layer.weights).map(|(power, v)| power.copysign(*v)).collect())
        };
        layers.iter().map(of_layer).collect()
    }

    fn initial(&self, weights: &[f32]) -> Option<Vec<f32>> {
        let powers = self.powers(weights, 1.0 / self.alpha);
        Some(powers.zip(weights).map(|(power, w)| power.copysign(*w)).collect())
    }

    fn has_backward(&self) -> bool {
        true
    }

    fn backward(&mut self, layers: &[Gated], grads: &mut [Vec<f32>]) {
        for (layer, grad) in layers.iter().zip(grads) {
            let powers = self.powers(layer.weights, self.alpha - 1.0);
            grad.par_iter_mut().zip(powers).for_each(|(g, power)| *g *= self.alpha * power);
        }
    }

    fn check(&self) -> Result<(), String> {
        match self.alpha >= 1.0 && self.alpha.is_finite() {
            true => Ok(()),
            false => Err(format!("alpha is {}, outside [1, inf)", self.alpha)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{gated, info, rises};
    use super::*;
    use taper_kernels::mask::Mask;

    #[test]
    fn weights_are_powers_and_gradients_agree_with_finite_differences() {
        let (info, w) = (info(&[1, 4]), [0.25f32, -0.5, 0.0, 2.0]);
        let mask = Mask::full(4);
        for alpha in [1.0, 2.0, 2.5] {
            let mut operator = PowerPropagation { alpha };
            let v = operator.initial(&w).unwrap();
            let back = operator.values(&[gated(&info, &v, &mask, 0.0)]);
            let back = back[0].as_ref().unwrap();
            assert!(back.iter().zip(w).all(|(a, b)| (a - b).abs() < 1e-6), "{alpha}: {back:?}");
            rises(&mut operator, &info, &v, &mask, 0.0);
        }
        assert_eq!(
            PowerPropagation { alpha: 2.0 }.initial(&w).unwrap()[..2],
            [0.5, -0.5f32.sqrt()]
        );
        assert!(PowerPropagation { alpha: 0.5 }.check().is_err());
        assert!(PowerPropagation { alpha: f32::NAN }.check().is_err());
        assert!(PowerPropagation { alpha: f32::INFINITY }.check().is_err());
    }
}
