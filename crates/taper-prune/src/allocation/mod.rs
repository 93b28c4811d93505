//! How many weights each group of layers keeps.
//!
//! An allocation partitions the layers into groups that are *ranked together* and gives each group a number of
//! weights to keep. So ranking globally, the same sparsity in each layer, and ERK are one thing. The numbers kept
//! add up exactly to what the overall sparsity asks for.

mod erk;
mod global;
mod pinned;
mod uniform;

pub use erk::Erk;
pub use global::Global;
pub use pinned::{Pin, Pinned};
pub use uniform::Uniform;

use std::fmt::Debug;
use taper_core::{LayerId, LayerInfo, Sparsity};

/// Layers whose weights are ranked together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The layers.
    pub layers: Vec<LayerId>,
    /// How many of their weights are kept.
    pub n_keep: u64,
    /// The same as a fraction: what an interpolated quantile is taken at.
    pub sparsity: Sparsity,
}

/// A layer with its identity.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Which layer.
    pub id: LayerId,
    /// Its description.
    pub info: &'a LayerInfo,
}

/// Decides how many weights each group of layers keeps.
pub trait Allocation: Debug + Send + Sync {
    /// A group for each layer, once; their `n_keep` add up to `overall.n_kept(n)` of all `n` weights.
    ///
    /// # Errors
    /// [`AllocationError`] if `overall` cannot be met.
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError>;
}

impl<A: Allocation + ?Sized> Allocation for Box<A> {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        (**self).allocate(layers, overall)
    }
}

/// An overall sparsity that an allocation cannot meet.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocationError {
    /// Pinned layers keep more than the overall sparsity leaves.
    #[error(
        "pinned layers keep {n_pinned} weights where sparsity {overall} leaves {n_keep} in all; pin fewer layers or lower the target"
    )]
    Pinned {
        /// Weights kept in pinned layers.
        n_pinned: u64,
        /// Weights to keep in all layers.
        n_keep: u64,
        /// The overall sparsity.
        overall: f64,
    },
    /// Groups that keep another number of weights in all than the overall sparsity does.
    #[error(
        "the groups of the allocation keep {n_kept} weights in all where sparsity {overall} leaves {n_keep}; an allocation must add up"
    )]
    Sum {
        /// Weights kept in all groups.
        n_kept: u64,
        /// Weights to keep.
        n_keep: u64,
        /// The overall sparsity.
        overall: f64,
    },
    /// A pattern that matches no layer.
    #[error(
        "pattern `{pattern}` matches none of the {n_layers} prunable layers; they have names such as `{example}`"
    )]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Number of layers.
        n_layers: usize,
        /// Name of the first layer.
        example: String,
    },
}

/// Number of weights in all `layers`.
fn n_weights(layers: &[Layer]) -> u64 {
    layers.iter().map(|l| l.info.n_weights()).sum()
}

/// A group for each layer with density `densities[i]`, whose kept weights add up to exactly `n_keep`.
///
/// Each layer keeps the whole part of its share; what is left goes to the largest remainders, in layer order where
/// they are equal, and never to a layer that is already full.
fn per_layer(layers: &[Layer], densities: &[f64], n_keep: u64) -> Vec<Group> {
    let full: Vec<u64> = layers.iter().map(|l| l.info.n_weights()).collect();
    let shares: Vec<f64> =
        full.iter().zip(densities).map(|(&n, d)| (n as f64 * d).clamp(0.0, n as f64)).collect();
    let mut counts: Vec<u64> = shares.iter().map(|s| s.floor() as u64).collect();
    let mut by_remainder: Vec<usize> = (0..layers.len()).collect();
    by_remainder.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()).then(a.cmp(&b)));
    let mut total: u64 = counts.iter().sum();
    while total != n_keep {
        let before = total;
        for &i in &by_remainder {
            if total < n_keep && counts[i] < full[i] {
                (counts[i], total) = (counts[i] + 1, total + 1);
            } else if total > n_keep && counts[i] > 0 {
                (counts[i], total) = (counts[i] - 1, total - 1);
            }
        }
        if total == before {
            break; // n_keep exceeds all weights: every layer is full.
        }
    }
    layers
        .iter()
        .zip(counts)
        .map(|(layer, n_keep)| Group {
            layers: vec![layer.id],
            n_keep,
            sparsity: Sparsity::of(n_keep, layer.info.n_weights()),
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use taper_core::LayerKind;

    pub(crate) fn infos(shapes: &[&[usize]]) -> Vec<LayerInfo> {
        shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| LayerInfo {
                name: format!("layer{i}.weight"),
                kind: if shape.len() == 4 { LayerKind::Conv } else { LayerKind::Linear },
                shape: shape.to_vec(),
            })
            .collect()
    }

    pub(crate) fn layers(infos: &[LayerInfo]) -> Vec<Layer<'_>> {
        infos.iter().enumerate().map(|(i, info)| Layer { id: LayerId(i), info }).collect()
    }

    proptest! {
        #[test]
        fn every_allocation_adds_up_exactly_and_covers_each_layer_once(
            shapes in prop::collection::vec((1usize..40, 1usize..40, 1usize..4), 1..8), s in 0.0..=1.0f64,
        ) {
            let shapes: Vec<Vec<usize>> = shapes.iter().map(|&(o, i, k)| vec![o, i, k, k]).collect();
            let infos = infos(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let (layers, overall) = (layers(&infos), Sparsity::new(s).unwrap());
            for allocation in [&Global as &dyn Allocation, &Uniform, &Erk::default()] {
                let groups = allocation.allocate(&layers, overall).unwrap();
                let kept: u64 = groups.iter().map(|g| g.n_keep).sum();
                prop_assert_eq!(kept, overall.n_kept(n_weights(&layers)), "{:?}", allocation);
                let mut ids: Vec<_> = groups.iter().flat_map(|g| g.layers.clone()).collect();
                ids.sort();
                prop_assert_eq!(ids, layers.iter().map(|l| l.id).collect::<Vec<_>>());
                for group in groups.iter().filter(|g| g.layers.len() == 1) {
                    prop_assert!(group.n_keep <= layers[group.layers[0].0].info.n_weights());
                }
            }
        }
    }
}
