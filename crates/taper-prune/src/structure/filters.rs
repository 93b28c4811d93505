//! Whole filters of convolutions.

use super::{Demand, Scored, Structure, units};
use crate::{cut::Chosen, dead::Filters};
use taper_core::LayerInfo;

/// Output channels of convolutions, ranked by the mean magnitude of their weights. At most the requested number of
/// weights is kept, but at least one filter.
///
/// # References
/// Li et al., "Pruning Filters for Efficient ConvNets" (arXiv:1608.08710), who rank sums within a layer. The mean makes
/// layers of different sizes comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterUnits;

impl Structure for FilterUnits {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        match Filters::of(layer).n() {
            0 => Err("it is not a convolution and has no filters".into()),
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
