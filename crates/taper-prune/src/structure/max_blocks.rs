//! Blocks ranked by their largest weight.

use super::{Blocks, Demand, Scored, Structure, units};
use crate::cut::Chosen;
use taper_core::LayerInfo;

/// [`Blocks`] ranked by the largest magnitude of their weights instead of the mean.
///
/// # References
/// JaxPruner's `Block` without `use_avg_pooling` (arXiv:2304.14082).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxBlocks(pub Blocks);

impl Structure for MaxBlocks {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        self.0.check(layer)
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        units::choose(layers, demand, units::largest, |layer| self.0.of(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chosen, info};
    use super::*;

    #[test]
    fn one_large_weight_keeps_its_block() {
        // The blocks of two columns have means 2.5 and 3, and maxima 5 and 3.
        let (info, scores) = (info(&[1, 4]), [0.0, -5.0, 3.0, 3.0]);
        let blocks = Blocks { rows: 1, columns: 2 };
        assert_eq!(chosen(&MaxBlocks(blocks), &[(&info, &scores)], 2), [[0, 1]]);
        assert_eq!(chosen(&blocks, &[(&info, &scores)], 2), [[2, 3]]);
    }
}
