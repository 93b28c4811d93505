//! Structures: which weights are kept or pruned together.
//!
//! A [`Structure`] computes masks from scores: of single weights, of N weights in each group of M, of blocks or of
//! filters.

mod all_inputs;
mod blocks;
mod channels;
mod fan_in;
mod filters;
mod max_blocks;
mod n_of_m;
mod shared_inputs;
mod single;
mod units;

pub use all_inputs::AllInputs;
pub use blocks::Blocks;
pub use channels::Channels;
pub use fan_in::FanIn;
pub use filters::FilterUnits;
pub use max_blocks::MaxBlocks;
pub use n_of_m::{NOfM, OutputNOfM};
pub use shared_inputs::SharedInputs;
pub use single::Single;

pub use crate::cut::Chosen;

use crate::Quantile;
use std::fmt::Debug;
use taper_core::{LayerInfo, Sparsity};

/// The scores of a layer; their magnitudes are ranked.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The layer.
    pub info: &'a LayerInfo,
    /// A score for each weight, in row-major order.
    pub scores: &'a [f32],
}

/// Number of weights that a group of layers must keep.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Number of weights.
    pub n_keep: u64,
    /// `n_keep` as a sparsity. An interpolated quantile is computed at this value.
    pub sparsity: Sparsity,
    /// How the threshold is computed if single weights are ranked.
    pub quantile: Quantile,
}

/// Decides which weights are kept or pruned together.
///
/// ```
/// use taper_kernels::mask::Mask;
/// use taper_prune::structure::{Chosen, Demand, Scored, Structure};
///
/// /// Whole layers: keeps the first layers of a group that fit.
/// #[derive(Debug)]
/// struct Layers;
///
/// impl Structure for Layers {
///     fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
///         let mut left = demand.n_keep;
///         let masks = layers.iter().map(|layer| {
///             let n = layer.scores.len();
///             match left.checked_sub(n as u64) {
///                 Some(rest) => {
///                     left = rest;
///                     Mask::full(n)
///                 }
///                 None => Mask::empty(n),
///             }
///         });
///         // There is no magnitude threshold.
///         Chosen { masks: masks.collect(), at: 0.0 }
///     }
/// }
/// ```
pub trait Structure: Debug + Send + Sync {
    /// Checks that the structure fits a layer.
    ///
    /// # Errors
    /// A message: what does not fit in the shape or kind of the layer.
    fn check(&self, _layer: &LayerInfo) -> Result<(), String> {
        Ok(())
    }

    /// Number of weights that a layer keeps at a sparsity of the network, if the structure decides it instead of the
    /// allocation. Layers that the allocation leaves dense stay dense.
    fn quota(&self, _layer: &LayerInfo, _sparsity: Sparsity) -> Option<u64> {
        None
    }

    /// Whether each weight is kept or pruned separately. All other structures need hard thresholding. A structure with
    /// a [`quota`](Self::quota) excludes prune-and-regrow.
    fn is_single(&self) -> bool {
        false
    }

    /// The masks of layers that are ranked together.
    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen;
}

impl<S: Structure + ?Sized> Structure for Box<S> {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        (**self).check(layer)
    }

    fn quota(&self, layer: &LayerInfo, sparsity: Sparsity) -> Option<u64> {
        (**self).quota(layer, sparsity)
    }

    fn is_single(&self) -> bool {
        (**self).is_single()
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        (**self).choose(layers, demand)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use taper_core::LayerKind;

    /// A layer of this shape.
    pub(crate) fn info(shape: &[usize]) -> LayerInfo {
        let kind = if shape.len() == 4 { LayerKind::Conv } else { LayerKind::Linear };
        LayerInfo { name: "layer.weight".into(), kind, shape: shape.to_vec() }
    }

    /// The kept weights of each layer; the layers are ranked together.
    pub(crate) fn chosen(
        structure: &dyn Structure,
        layers: &[(&LayerInfo, &[f32])],
        n_keep: u64,
    ) -> Vec<Vec<usize>> {
        let layers: Vec<Scored> =
            layers.iter().map(|&(info, scores)| Scored { info, scores }).collect();
        let n = layers.iter().map(|layer| layer.scores.len() as u64).sum();
        let sparsity = Sparsity::of(n_keep, n);
        let demand = Demand { n_keep, sparsity, quantile: Quantile::Exact };
        let masks = structure.choose(&layers, &demand).masks;
        masks.iter().map(|mask| mask.kept().collect()).collect()
    }
}
