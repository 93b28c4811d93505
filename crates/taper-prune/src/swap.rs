//! Swapping kept weights for others.

use crate::{
    cut::Quantile,
    structure::{Demand, Scored, Structure},
};
use std::borrow::Cow;
use taper_core::{LayerInfo, Sparsity};
use taper_kernels::mask::Mask;

/// How many of a layer's kept weights stay in a swap, and how many weights enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    n_retained: u64,
    n_entering: u64,
}

impl Counts {
    /// A share of the kept weights is replaced by as many of those that are open, of which kept ones are a part.
    pub(crate) fn replacing(share: f64, n_kept: u64, n_open: u64) -> Self {
        let n_entering = part(share, n_kept).min(n_open.saturating_sub(n_kept));
        Self { n_retained: n_kept - n_entering, n_entering }
    }

    /// What exceeds a budget leaves, and a share of the budget enters on top of it.
    pub(crate) fn exceeding(share: f64, budget: u64, n_kept: u64, n_open: u64) -> Self {
        let n_retained = budget.min(n_kept);
        Self { n_retained, n_entering: part(share, budget).min(n_open.saturating_sub(n_retained)) }
    }
}

/// This share of n, rounded down.
fn part(share: f64, n: u64) -> u64 {
    (share * n as f64).floor() as u64
}

/// A layer after a swap.
pub(crate) struct Swapped {
    pub(crate) mask: Mask,
    /// What begins anew.
    pub(crate) anew: Mask,
}

/// Swaps weights of a layer: those of the lowest score leave, and of all that is open and not retained, those of the highest
/// score of growth enter. What has just left may come back. Without growth it enters again, and begins anew.
///
/// Where weights are kept together, they leave and enter together, at most as many as asked for.
pub(crate) fn swapped<'a>(
    info: &LayerInfo,
    kept: &Mask,
    open: &Mask,
    counts: Counts,
    leave: impl FnOnce() -> Cow<'a, [f32]>,
    enter: Option<impl FnOnce() -> Cow<'a, [f32]>>,
    structure: &dyn Structure,
) -> Swapped {
    let Counts { n_retained, n_entering } = counts;
    if n_retained == kept.n_kept() && n_entering == 0 {
        return Swapped { mask: kept.clone(), anew: Mask::empty(kept.len()) };
    }
    let chosen = |scores: &[f32], first: &Mask, among: &Mask, n: u64| match structure.is_single() {
        true => first.union(&best(scores, &among.difference(first), n - first.n_kept())),
        false => together(info, scores, [first, among], n, structure),
    };
    let retained = chosen(&leave(), &Mask::empty(kept.len()), kept, n_retained);
    let Some(enter) = enter else {
        return Swapped { mask: kept.clone(), anew: kept.difference(&retained) };
    };
    let mask = chosen(&enter(), &retained, open, n_retained + n_entering);
    Swapped { anew: mask.difference(kept), mask }
}

/// The `n` weights of the largest scores that a structure keeps together: the first mask before all others, and none but the second.
fn together(
    info: &LayerInfo,
    scores: &[f32],
    [first, among]: [&Mask; 2],
    n: u64,
    structure: &dyn Structure,
) -> Mask {
    let mut ranked = scores.to_vec();
    among.complement().kept().for_each(|index| ranked[index] = 0.0);
    first.kept().for_each(|index| ranked[index] = f32::MAX);
    let sparsity = Sparsity::of(n, ranked.len() as u64);
    let demand = Demand { n_keep: n, sparsity, quantile: Quantile::Exact };
    let chosen = structure.choose(&[Scored { info, scores: &ranked }], &demand);
    let chosen = chosen.masks.into_iter().next().unwrap_or_else(|| Mask::empty(ranked.len()));
    // Units of nothing but zeros are equal, in and outside of what may be chosen.
    chosen.difference(&among.complement())
}

/// The `n` weights among these whose scores have the largest magnitude; of equal ones, those of the lower index.
fn best(scores: &[f32], among: &Mask, n: u64) -> Mask {
    let ranked: Vec<f32> = among.kept().map(|index| scores[index]).collect();
    let chosen = Quantile::Exact.choose(&[&ranked], n, 0.0).masks.swap_remove(0);
    let mut found = Mask::empty(among.len());
    for (place, index) in among.kept().enumerate() {
        if chosen.is_kept(place) {
            found.set(index, true);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_kept_together_are_swapped_together() {
        use crate::structure::{Channels, FanIn};
        use taper_core::LayerKind;
        let info = LayerInfo { name: String::new(), kind: LayerKind::Linear, shape: vec![4, 2] };
        let weights = [3.0, 2.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0];
        let gradient = [0.0, 0.0, 1.0, 1.0, 0.5, 0.5, 9.0, 0.0];
        let of = |kept: &[usize], structure: &dyn Structure| {
            let mut mask = Mask::empty(8);
            kept.iter().for_each(|&index| mask.set(index, true));
            let counts = Counts::replacing(0.5, mask.n_kept(), 8);
            let [leave, enter] = [&weights, &gradient].map(|scores| || Cow::from(&scores[..]));
            let swapped =
                swapped(&info, &mask, &Mask::full(8), counts, leave, Some(enter), structure);
            [swapped.mask, swapped.anew].map(|mask| mask.kept().collect::<Vec<usize>>())
        };
        // Of two rows the smaller leaves, and the row of the largest mean gradient enters.
        let rows = Channels { axis: 0 };
        assert_eq!(of(&[0, 1, 4, 5], &rows), [vec![0, 1, 6, 7], vec![6, 7]]);
        // Each row keeps a weight. The last two have no large one to keep, and take those of the largest gradient.
        assert_eq!(of(&[0, 2, 4, 7], &FanIn), [vec![0, 2, 4, 6], vec![6]]);
    }

    #[test]
    fn counts_of_both_kinds() {
        let counts = |n_retained, n_entering| Counts { n_retained, n_entering };
        assert_eq!(Counts::replacing(0.3, 10, 40), counts(7, 3));
        // There are no more that could enter.
        assert_eq!(Counts::replacing(0.3, 10, 11), counts(9, 1));
        assert_eq!(Counts::exceeding(0.3, 10, 13, 40), counts(10, 3));
        assert_eq!(Counts::exceeding(0.0, 10, 13, 40), counts(10, 0));
        assert_eq!(Counts::exceeding(0.3, 10, 10, 12), counts(10, 2));
        assert_eq!(Counts::exceeding(0.3, 10, 8, 8), counts(8, 0));
    }
}
