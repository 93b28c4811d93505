//! Erdős–Rényi densities.

use super::{Allocation, AllocationError, Group, Layer, per_layer};
use taper_core::{LayerInfo, Sparsity};

/// Gives each layer a density proportional to `(inputs + outputs) / (inputs · outputs)`, at most 1, whatever the size
/// of its kernel.
///
/// [`Erk`](super::Erk) also counts the sizes of the kernel; for linear layers both are the same.
///
/// # References
/// Mocanu et al., "SET" (arXiv:1707.04780), equation 1, for linear layers; RigL's `erdos_renyi` for convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Er;

impl Allocation for Er {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        Ok(per_layer(layers, overall, size))
    }
}

/// The number of weights times the raw density.
fn size(layer: &LayerInfo) -> f64 {
    let [first, second] = [0, 1].map(|axis| layer.shape.get(axis).copied().unwrap_or(1) as f64);
    let kernel = layer.shape.iter().skip(2).map(|&n| n as f64).product::<f64>();
    (first + second) * kernel
}

#[cfg(test)]
mod tests {
    use super::super::tests::{infos, layers};
    use super::*;

    #[test]
    fn the_kernel_does_not_count() {
        let infos = infos(&[&[10, 10, 3, 3], &[30, 10, 1, 1], &[20, 20]]);
        let groups = Er.allocate(&layers(&infos), Sparsity::new(0.9).unwrap()).unwrap();
        // 900, 300 and 400 weights with raw densities 20/100, 40/300 and 40/400: sizes 180, 40 and 40 for 160 kept
        // weights. The exact counts are 110.8, 24.6 and 24.6. Rounded separately they add up to 161, so the last weight
        // in the order is left out. It is the 111th of the first layer: 110.5/180 > 24.5/40.
        let kept: Vec<u64> = groups.iter().map(|group| group.n_keep).collect();
        assert_eq!(kept, [110, 25, 25]);
    }
}
