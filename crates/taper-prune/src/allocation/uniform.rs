//! The same sparsity in each layer.

use super::{Allocation, AllocationError, Group, Layer, per_layer};
use taper_core::Sparsity;

/// Gives each layer the overall sparsity, up to the rounding that makes the counts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uniform;

impl Allocation for Uniform {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        Ok(per_layer(layers, overall, |layer| layer.n_weights() as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{infos, layers};
    use super::*;

    #[test]
    fn the_remaining_weight_goes_to_the_layer_nearest_to_the_next_whole_number() {
        let infos = infos(&[&[10, 1], &[15, 1], &[8, 1]]);
        let groups = Uniform.allocate(&layers(&infos), Sparsity::new(0.9).unwrap()).unwrap();
        // The exact counts are 1, 1.5 and 0.8, together 3.3: three weights are kept.
        assert_eq!(groups.iter().map(|g| g.n_keep).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
