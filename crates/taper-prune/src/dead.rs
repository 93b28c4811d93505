//! Filters that have lost every weight.

use std::ops::Range;
use taper_core::{LayerInfo, LayerKind};
use taper_kernels::mask::Mask;

/// What becomes of dead filters: output channels of a convolution, transposed or not, whose every weight is pruned.
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

/// How the filters of a layer lie in its weight `[rows, columns, kernel…]`: a filter has one column of the rows of its
/// group, a stretch of `size` weights in each.
pub(crate) struct Filters {
    groups: usize,
    /// Rows of a group.
    rows: usize,
    /// Filters of a group.
    columns: usize,
    size: usize,
}

impl Filters {
    /// Those of a layer; a linear layer has none.
    pub(crate) fn of(info: &LayerInfo) -> Self {
        let product = |dims: &[usize]| dims.iter().product();
        match (info.kind, &info.shape[..]) {
            // Each output channel is a row of its own.
            (LayerKind::Conv, [out, rest @ ..]) => {
                Self { groups: *out, rows: 1, columns: 1, size: product(rest) }
            }
            (LayerKind::ConvTranspose { groups }, [rows, columns, kernel @ ..]) => {
                let rows = rows.checked_div(groups).unwrap_or(0);
                Self { groups, rows, columns: *columns, size: product(kernel) }
            }
            _ => Self { groups: 0, rows: 0, columns: 0, size: 0 },
        }
    }

    /// How many there are: the output channels.
    pub(crate) fn n(&self) -> usize {
        self.groups * self.columns
    }

    /// Where the weights of a filter are.
    pub(crate) fn weights(&self, filter: usize) -> impl Iterator<Item = Range<usize>> {
        let &Self { rows, columns, size, .. } = self;
        let (group, column) = (filter / columns, filter % columns);
        (group * rows..(group + 1) * rows).map(move |row| {
            let first = (row * columns + column) * size;
            first..first + size
        })
    }
}

/// The dead filters of a layer, in order.
pub(crate) fn dead_filters(info: &LayerInfo, mask: &Mask) -> Vec<usize> {
    let filters = Filters::of(info);
    let is_dead = |filter: &usize| !filters.weights(*filter).any(|range| mask.keeps_any(range));
    (0..filters.n()).filter(is_dead).collect()
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

    #[test]
    fn filters_of_a_transposed_convolution_are_columns_of_their_group() {
        let info = |groups| LayerInfo {
            name: "up.weight".into(),
            kind: LayerKind::ConvTranspose { groups },
            shape: vec![4, 3, 2],
        };
        // Weights of input 0 to 3, three outputs each, two taps each.
        let of = |rows: Range<usize>, column: usize| {
            let mut mask = Mask::full(24);
            rows.for_each(|row| mask.clear((3 * row + column) * 2..(3 * row + column + 1) * 2));
            mask
        };
        assert_eq!(dead_filters(&info(1), &of(0..4, 1)), [1]);
        assert!(dead_filters(&info(1), &of(0..3, 1)).is_empty());
        assert_eq!(dead_filters(&info(2), &of(0..2, 2)), [2]);
        assert_eq!(dead_filters(&info(2), &of(2..4, 0)), [3]);
        assert_eq!(dead_filters(&info(2), &of(0..4, 1)), [1, 4]);
        assert_eq!([1, 2, 4].map(|groups| Filters::of(&info(groups)).n()), [3, 6, 12]);
    }
}
