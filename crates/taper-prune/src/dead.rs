//! Dead filters: filters without a kept weight.

use std::ops::Range;
use taper_core::{LayerInfo, LayerKind};
use taper_kernels::mask::Mask;

/// How dead filters are treated: output channels of a convolution, transposed or not, with every weight pruned.
///
/// The variance of a dead channel is 0, so a batch norm after it multiplies its gradient by `1/√ε`, about 316. At 98 %
/// sparsity and above, nearly all of the gradient norm can be in dead filters. Clipping by that norm then leaves almost
/// no gradient for live weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadFilters {
    /// They learn like all other filters, as in the reference implementation of Feather.
    #[default]
    Reference,
    /// Their gradient is blocked.
    Silent,
    /// They learn, but are clipped separately: their gradient does not count in the norm that clips all other weights,
    /// and is clipped by its own norm. The training loop must implement this; see
    /// [`Pruner::dead_filters`](crate::Pruner::dead_filters).
    Unclipped,
}

impl DeadFilters {
    /// Names in experiment files, with their values.
    pub const ALL: [(&'static str, Self); 3] =
        [("reference", Self::Reference), ("silent", Self::Silent), ("unclipped", Self::Unclipped)];
}

/// Positions of a layer's filters in its weight `[rows, columns, kernel…]`. A filter consists of one column in each row
/// of its group; this is a run of `size` weights in each row.
pub(crate) struct Filters {
    groups: usize,
    /// Rows of a group.
    rows: usize,
    /// Filters of a group.
    columns: usize,
    size: usize,
}

impl Filters {
    /// The filters of a layer; a linear layer has none.
    pub(crate) fn of(info: &LayerInfo) -> Self {
        let product = |dims: &[usize]| dims.iter().product();
        match (info.kind, &info.shape[..]) {
            // Each output channel is one row.
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

    /// Number of filters: the output channels.
    pub(crate) fn n(&self) -> usize {
        self.groups * self.columns
    }

    /// Index ranges of the weights of a filter.
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
        // Weights of inputs 0 to 3, with three outputs each and two taps each.
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
