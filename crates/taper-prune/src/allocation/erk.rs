//! Erdős–Rényi-kernel densities.

use super::{Allocation, AllocationError, Group, Layer, per_layer};
use taper_core::Sparsity;

/// Gives each layer a density proportional to `(Σ dims / Π dims)^power`, at most 1: small layers stay denser.
///
/// With r the raw density of a layer, its density is `min(1, ε·r)`, up to rounding. One ε for all layers meets the
/// overall sparsity. As fewer weights are kept, ε falls, one layer after the other stops being full, and no layer keeps
/// more than before.
///
/// # References
/// Mocanu et al. (arXiv:1707.04780); the kernel dimensions are from RigL (arXiv:1911.11134).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Erk {
    /// Exponent of the raw density; 1 is ERK itself, 0 is uniform.
    pub power: f64,
}

impl Default for Erk {
    fn default() -> Self {
        Self { power: 1.0 }
    }
}

impl Allocation for Erk {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        if !self.power.is_finite() {
            let reason = format!("the power is {}; give a finite number", self.power);
            return Err(AllocationError::Parameter { reason });
        }
        Ok(per_layer(layers, overall, |layer| {
            // n·(Σ/n)^power, in a form that is exact for the powers 0 and 1.
            let sum: usize = layer.shape.iter().sum();
            let n = layer.n_weights() as f64;
            libm::pow(sum as f64, self.power) * libm::pow(n, 1.0 - self.power)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{infos, layers};
    use super::*;

    #[test]
    fn small_layers_stay_denser_and_full_ones_are_dense() {
        let infos = infos(&[&[4, 3, 3, 3], &[64, 64, 3, 3], &[10, 64]]);
        let layers = layers(&infos);
        let groups = Erk::default().allocate(&layers, Sparsity::new(0.9).unwrap()).unwrap();
        let density = |i: usize| groups[i].sparsity.density();
        // Raw densities: 13/108, 134/36864, 74/640; by hand, ε exceeds the first and the last.
        assert_eq!(density(0), 1.0);
        assert_eq!(density(2), 1.0);
        assert_eq!(groups.iter().map(|g| g.n_keep).sum::<u64>(), 3761);
        assert_eq!(groups[1].n_keep, 3761 - 108 - 640);
    }

    #[test]
    fn without_saturation_densities_are_proportional_to_the_raw_ones() {
        let infos = infos(&[&[100, 100], &[200, 200]]);
        let groups =
            Erk::default().allocate(&layers(&infos), Sparsity::new(0.98).unwrap()).unwrap();
        // Raw 0.02 and 0.01 with 10,000 and 40,000 weights: ε = 1000/600.
        assert_eq!(groups.iter().map(|g| g.n_keep).collect::<Vec<_>>(), [333, 667]);
    }

    #[test]
    fn power_zero_is_uniform() {
        let infos = infos(&[&[100, 100], &[200, 200]]);
        let groups =
            Erk { power: 0.0 }.allocate(&layers(&infos), Sparsity::new(0.5).unwrap()).unwrap();
        assert_eq!(groups.iter().map(|g| g.n_keep).collect::<Vec<_>>(), [5_000, 20_000]);
    }
}
