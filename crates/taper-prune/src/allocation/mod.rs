//! Allocation: how many weights each group of layers keeps.
//!
//! An allocation partitions the layers into groups that are *ranked together*, and gives each group a number of weights
//! to keep. Global ranking, uniform sparsity and ERK are all allocations. The counts add up exactly to the overall
//! sparsity, and no count rises while the overall sparsity rises.

mod apportion;
mod er;
mod erk;
mod given;
mod global;
mod patterns;
mod pinned;
mod switched;
mod uniform;

pub use er::Er;
pub use erk::Erk;
pub use given::Given;
pub use global::Global;
pub use pinned::{Pin, Pinned};
pub use switched::Switched;
pub use uniform::Uniform;

use apportion::{Claim, apportion};
use std::fmt::Debug;
use taper_core::{LayerId, LayerInfo, Sparsity};

/// Layers whose weights are ranked together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The layers.
    pub layers: Vec<LayerId>,
    /// How many of their weights are kept.
    pub n_keep: u64,
    /// `n_keep` as a sparsity. An interpolated quantile is computed at this value.
    pub sparsity: Sparsity,
}

impl Group {
    /// A group of one layer.
    fn of(layer: Layer, n_keep: u64) -> Self {
        let sparsity = Sparsity::of(n_keep, layer.info.n_weights());
        Self { layers: vec![layer.id], n_keep, sparsity }
    }
}

/// A layer with its index.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Index of the layer.
    pub id: LayerId,
    /// Description of the layer.
    pub info: &'a LayerInfo,
}

/// Decides how many weights each group of layers keeps.
pub trait Allocation: Debug + Send + Sync {
    /// Groups that together contain each layer once. Their `n_keep` add up to `overall.n_kept(n)`, where `n` is the
    /// number of all weights.
    ///
    /// No `n_keep` may rise while `overall.n_kept(n)` falls. A group that grows would regrow pruned weights, although
    /// no weight has changed; permanently pruned weights cannot be regrown.
    ///
    /// # Errors
    /// [`AllocationError`] if `overall` cannot be met, or a parameter is out of range.
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError>;
}

impl<A: Allocation + ?Sized> Allocation for Box<A> {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        (**self).allocate(layers, overall)
    }
}

/// Error: an overall sparsity that an allocation cannot meet, or a parameter out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocationError {
    /// Pinned layers keep more weights than the overall sparsity allows.
    #[error(
        "pinned layers keep {n_pinned} weights, but sparsity {overall} keeps only {n_keep} in total; pin fewer layers or lower the target"
    )]
    Pinned {
        /// Weights kept in pinned layers.
        n_pinned: u64,
        /// Weights to keep in all layers.
        n_keep: u64,
        /// The overall sparsity.
        overall: f64,
    },
    /// Groups that keep another total number of weights than the overall sparsity.
    #[error(
        "the groups of the allocation keep {n_kept} weights in total, but sparsity {overall} keeps {n_keep}; the counts of an allocation must add up"
    )]
    Sum {
        /// Weights kept in all groups.
        n_kept: u64,
        /// Weights to keep.
        n_keep: u64,
        /// The overall sparsity.
        overall: f64,
    },
    /// A group with a layer that does not exist.
    #[error("a group of the allocation has layer {layer}, but layers count from 0 to {}", .n_layers - 1)]
    Unknown {
        /// Index of the layer.
        layer: usize,
        /// Number of layers, at least 1.
        n_layers: usize,
    },
    /// A layer that is not in exactly one group.
    #[error(
        "the allocation has layer {layer} in {n_groups} of its groups; each of the {n_layers} layers must be in one"
    )]
    Layer {
        /// Index of the layer.
        layer: usize,
        /// Number of groups with this layer.
        n_groups: u32,
        /// Number of layers.
        n_layers: usize,
    },
    /// A parameter out of range.
    #[error("allocation: {reason}")]
    Parameter {
        /// The parameter and its legal range.
        reason: String,
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

/// Number of kept weights of each group of weights: `n_keep` in total, in proportion to the sizes.
pub(crate) fn share_out(sizes: &[u64], n_keep: u64) -> Vec<u64> {
    let claims: Vec<Claim> = sizes.iter().map(|&size| Claim::new(size, size as f64)).collect();
    apportion(&claims, n_keep.min(sizes.iter().sum()))
}

/// Number of weights in all `layers`.
fn n_weights(layers: &[Layer]) -> u64 {
    layers.iter().map(|l| l.info.n_weights()).sum()
}

/// One group for each layer. The kept weights are proportional to `size`, limited to full layers, and add up to exactly
/// the overall count.
fn per_layer(layers: &[Layer], overall: Sparsity, size: impl Fn(&LayerInfo) -> f64) -> Vec<Group> {
    let claim = |layer: &Layer| Claim::new(layer.info.n_weights(), size(layer.info));
    let claims: Vec<Claim> = layers.iter().map(claim).collect();
    let kept = apportion(&claims, overall.n_kept(n_weights(layers)));
    layers.iter().zip(kept).map(|(layer, n_keep)| Group::of(*layer, n_keep)).collect()
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

    /// Kept weights of each layer; `None` where the allocation is impossible.
    fn counts(allocation: &dyn Allocation, layers: &[Layer], n_keep: u64) -> Option<Vec<u64>> {
        let n = n_weights(layers);
        let overall = Sparsity::of(n_keep, n);
        assert_eq!(overall.n_kept(n), n_keep);
        let groups = allocation.allocate(layers, overall).ok()?;
        let mut of_layer = vec![None; layers.len()];
        for group in &groups {
            for id in &group.layers {
                let full: u64 = group.layers.iter().map(|id| layers[id.0].info.n_weights()).sum();
                assert!(group.n_keep <= full, "{allocation:?}");
                assert_eq!(group.sparsity, Sparsity::of(group.n_keep, full));
                assert!(of_layer[id.0].is_none(), "{allocation:?} has layer {id:?} twice");
                // A group of several layers has one number.
                of_layer[id.0] = Some(group.n_keep);
            }
        }
        let kept: u64 = groups.iter().map(|group| group.n_keep).sum();
        assert_eq!(kept, n_keep, "{allocation:?}");
        Some(of_layer.into_iter().map(|n| n.expect("every layer is in a group")).collect())
    }

    fn allocations(pins: &[(usize, f64)]) -> Vec<Box<dyn Allocation>> {
        let mut all: Vec<Box<dyn Allocation>> = vec![Box::new(Global), Box::new(Uniform)];
        for power in [1.0, 0.0, 0.5, 2.0, -1.0] {
            all.push(Box::new(Erk { power }));
        }
        all.push(Box::new(Er));
        let densities = vec![("layer0.*".to_string(), 0.5), ("layer*".to_string(), 0.2)];
        all.push(Box::new(Given { densities }));
        let pins: Vec<Pin> = pins
            .iter()
            .map(|&(i, at_most)| Pin {
                pattern: format!("layer{i}.*"),
                at_most: Sparsity::saturating(at_most),
            })
            .collect();
        let inner: [Box<dyn Allocation>; 3] =
            [Box::new(Global), Box::new(Uniform), Box::new(Erk::default())];
        all.extend(inner.map(|inner| -> Box<dyn Allocation> {
            Box::new(Pinned { inner, pins: pins.clone() })
        }));
        all
    }

    #[test]
    fn a_layer_never_gains_while_the_network_loses() {
        let infos = infos(&[&[6, 1], &[6, 1], &[2, 1]]);
        let of = |n_keep| counts(&Uniform, &layers(&infos), n_keep).expect("possible");
        assert_eq!([of(11), of(10)], [[5, 5, 1], [5, 4, 1]]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn counts_add_up_and_fall_with_the_number_kept(
            shapes in prop::collection::vec((1usize..7, 1usize..6, 1usize..3), 1..7),
            pins in prop::collection::vec((0usize..6, 0.0..1.0f64), 0..4),
        ) {
            let shapes: Vec<Vec<usize>> = shapes.iter().map(|&(o, i, k)| vec![o, i, k, k]).collect();
            let infos = infos(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let layers = layers(&infos);
            let pins: Vec<_> = pins.into_iter().filter(|pin| pin.0 < layers.len()).collect();
            for allocation in allocations(&pins) {
                let mut before = None;
                for n_keep in (0..=n_weights(&layers)).rev() {
                    let now = counts(&*allocation, &layers, n_keep);
                    if let (Some(before), Some(now)) = (&before, &now) {
                        let falls = |before: &Vec<u64>| before.iter().zip(now).all(|(b, n)| n <= b);
                        prop_assert!(falls(before), "{:?} {:?} {:?}", allocation, before, now);
                    }
                    prop_assert!(before.is_some() || now.is_some() == (n_keep == n_weights(&layers)));
                    before = now;
                }
            }
        }
    }

    /// The shapes of ResNet-20's convolutions and its classifier, as in the CIFAR-100 experiments.
    fn resnet20() -> Vec<LayerInfo> {
        let mut shapes = vec![vec![32, 3, 3, 3]];
        let mut before = 32;
        for width in [32, 64, 128] {
            for block in 0..3 {
                shapes.push(vec![width, before, 3, 3]);
                shapes.push(vec![width, width, 3, 3]);
                if block == 0 && width != before {
                    shapes.push(vec![width, before, 1, 1]);
                }
                before = width;
            }
        }
        shapes.push(vec![100, 128]);
        infos(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn counts_fall_over_a_whole_ramp_of_a_network() {
        let infos = resnet20();
        let layers = layers(&infos);
        let total = 3_000;
        for allocation in allocations(&[(0, 0.0), (5, 0.8), (20, 0.9)]) {
            let mut before = counts(&*allocation, &layers, n_weights(&layers)).expect("dense");
            for t in 0..=total {
                let x = t as f64 / total as f64;
                let overall =
                    Sparsity::saturating(0.95 * (1.0 - (1.0 - x) * (1.0 - x) * (1.0 - x)));
                let n_keep = overall.n_kept(n_weights(&layers));
                let now = counts(&*allocation, &layers, n_keep).expect("possible");
                assert!(now.iter().zip(&before).all(|(now, before)| now <= before), "{t}");
                before = now;
            }
        }
    }
}
