//! All layers ranked together.

use super::{Allocation, AllocationError, Group, Layer, n_weights};
use taper_core::Sparsity;

/// Ranks the weights of all layers together, as in Feather: the weights decide which layers stay denser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Global;

impl Allocation for Global {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        Ok(vec![Group {
            layers: layers.iter().map(|l| l.id).collect(),
            n_keep: overall.n_kept(n_weights(layers)),
            sparsity: overall,
        }])
    }
}
