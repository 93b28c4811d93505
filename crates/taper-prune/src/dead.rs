//! Filters that have lost every weight.

use taper_core::{LayerInfo, LayerKind};
use taper_kernels::mask::Mask;

/// What becomes of dead filters: output channels of a convolution whose every weight is pruned.
///
/// The variance of such a channel is 0, and a batch normalisation behind it multiplies its gradient by `1/√ε`, some 316.
/// At 98 % sparsity and above nearly all of the gradient's norm can be in dead filters; clipping that norm then starves
/// every live weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadFilters {
    /// They learn like all others, as in the reference implementation of Feather.
    #[default]
    Reference,
    /// Their weights get no gradient.
    Silent,
    /// Their weights learn, but do not count in the norm that all others are clipped by: the gradient in dead filters is
    /// clipped by its own norm. This part is the training loop's; see [`Pruner::dead_filters`](crate::Pruner::dead_filters).
    Unclipped,
}

impl DeadFilters {
    /// Names as in experiment files, with their values.
    pub const ALL: [(&'static str, Self); 3] =
        [("reference", Self::Reference), ("silent", Self::Silent), ("unclipped", Self::Unclipped)];
}

/// Filters of a layer and the weights of each; a linear layer has none.
pub(crate) fn filters(info: &LayerInfo) -> (usize, usize) {
    match (info.kind, info.shape.first()) {
        (LayerKind::Conv, Some(&n)) => (n, info.shape[1..].iter().product()),
        _ => (0, 0),
    }
}

/// The dead filters of a layer, in order.
pub(crate) fn dead_filters(info: &LayerInfo, mask: &Mask) -> Vec<usize> {
    let (n, size) = filters(info);
    (0..n).filter(|filter| !mask.keeps_any(filter * size..(filter + 1) * size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_dead_when_its_last_weight_is_pruned() {
        let info =
            |kind, shape: &[usize]| LayerInfo { name: "w".into(), kind, shape: shape.to_vec() };
        let mut mask = Mask::full(30);
        mask.clear(10..20);
        let conv = info(LayerKind::Conv, &[3, 10, 1, 1]);
        assert_eq!(dead_filters(&conv, &mask), [1]);
        mask.set(19, true);
        assert_eq!(dead_filters(&conv, &mask), [0usize; 0]);
        mask.clear(0..30);
        assert_eq!(dead_filters(&conv, &mask), [0, 1, 2]);
        assert!(dead_filters(&info(LayerKind::Linear, &[3, 10]), &mask).is_empty());
    }
}
