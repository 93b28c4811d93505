//! Unstructured sparsity.

use super::{Demand, Scored, Structure};
use crate::cut::Chosen;

/// Unstructured sparsity: each weight is kept or pruned separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single;

impl Structure for Single {
    fn is_single(&self) -> bool {
        true
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        let scores: Vec<&[f32]> = layers.iter().map(|layer| layer.scores).collect();
        demand.quantile.choose(&scores, demand.n_keep, demand.sparsity.get())
    }
}
