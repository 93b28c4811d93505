//! Whole filters.

use super::{Demand, Scored, Structure, units};
use crate::{cut::Chosen, dead::Filters};
use taper_core::LayerInfo;

/// Output channels of convolutions, ranked by the mean magnitude of their weights. What is kept is at most what is asked for.
///
/// # References
/// Li et al., "Pruning Filters for Efficient ConvNets" (arXiv:1608.08710), who rank sums within a layer; the mean lets
/// layers of different sizes be ranked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterUnits;

impl Structure for FilterUnits {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        match Filters::of(layer).n() {
            0 => Err("it has no filters, as it is no convolution".into()),
            _ => Ok(()),
        }
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        units::choose(layers, demand, units::mean, |layer| {
            let filters = Filters::of(layer.info);
            (0..filters.n()).map(|filter| filters.weights(filter).collect()).collect()
        })
    }
}
