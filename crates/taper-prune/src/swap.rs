//! Prune-and-regrow within one layer.

use crate::{
    cut::Quantile,
    error::PruneError,
    structure::{Demand, Scored, Structure},
};
use std::borrow::Cow;
use taper_core::{LayerInfo, Sparsity};
use taper_kernels::mask::Mask;

/// Number of a layer's kept weights that stay in a prune-and-regrow update, and number of weights that enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    n_retained: u64,
    n_entering: u64,
}

impl Counts {
    /// A fraction of the kept weights is replaced, and the layer has up to `budget` weights again: a structure that
    /// keeps whole units can have lost some in an earlier update. `n_open` counts the weights that may be kept,
    /// including the currently kept ones.
    pub(crate) fn replacing(share: f64, budget: u64, n_kept: u64, n_open: u64) -> Self {
        let n_retained = n_kept - part(share, n_kept).min(n_open.saturating_sub(n_kept));
        Self { n_retained, n_entering: budget.min(n_open).saturating_sub(n_retained) }
    }

    /// Soft bound: weights above the budget leave, and a fraction of the budget enters in addition to it.
    pub(crate) fn exceeding(share: f64, budget: u64, n_kept: u64, n_open: u64) -> Self {
        let n_retained = budget.min(n_kept);
        Self { n_retained, n_entering: part(share, budget).min(n_open.saturating_sub(n_retained)) }
    }
}

/// `share · n`, rounded down.
fn part(share: f64, n: u64) -> u64 {
    (share * n as f64).floor() as u64
}

/// A layer after a prune-and-regrow update.
pub(crate) struct Swapped {
    pub(crate) mask: Mask,
    /// The regrown weights, which are reset.
    pub(crate) anew: Mask,
}

/// Prune-and-regrow of a layer. The weights with the lowest scores leave. Of all open weights that are not retained,
/// those with the highest growth scores enter; weights that have just left may return. Without growth scores, the
/// weights that left enter again and are reset.
///
/// Weights of a structure leave and enter together, at most the requested number.
pub(crate) fn swapped<'a>(
    info: &LayerInfo,
    kept: &Mask,
    open: &Mask,
    counts: Counts,
    leave: impl FnOnce() -> Result<Cow<'a, [f32]>, PruneError>,
    enter: Option<impl FnOnce() -> Result<Cow<'a, [f32]>, PruneError>>,
    structure: &dyn Structure,
) -> Result<Swapped, PruneError> {
    let Counts { n_retained, n_entering } = counts;
    if n_retained == kept.n_kept() && n_entering == 0 {
        return Ok(Swapped { mask: kept.clone(), anew: Mask::empty(kept.len()) });
    }
    let chosen = |scores: &[f32], first: &Mask, among: &Mask, n: u64| match structure.is_single() {
        true => first.union(&best(scores, &among.difference(first), n - first.n_kept())),
        false => together(info, scores, [first, among], n, structure),
    };
    let retained = chosen(&leave()?, &Mask::empty(kept.len()), kept, n_retained);
    let Some(enter) = enter else {
        return Ok(Swapped { mask: kept.clone(), anew: kept.difference(&retained) });
    };
    let mask = chosen(&enter()?, &retained, open, n_retained + n_entering);
    Ok(Swapped { anew: mask.difference(kept), mask })
}

/// The `n` weights with the largest scores under a structure: the weights of `first` before all others, and only
/// weights of `among`.
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
    // Units with only zero scores are tied, within `among` and outside of it.
    chosen.difference(&among.complement())
}

/// The `n` weights of `among` with the largest score magnitudes; ties go to the lower index.
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
    fn structured_weights_leave_and_enter_together() {
        use crate::structure::{Channels, FanIn};
        use taper_core::LayerKind;
        let info = LayerInfo { name: String::new(), kind: LayerKind::Linear, shape: vec![4, 2] };
        let weights = [3.0, 2.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0];
        let gradient = [0.0, 0.0, 1.0, 1.0, 0.5, 0.5, 9.0, 0.0];
        let of = |kept: &[usize], structure: &dyn Structure| {
            let mut mask = Mask::empty(8);
            kept.iter().for_each(|&index| mask.set(index, true));
            let counts = Counts::replacing(0.5, mask.n_kept(), mask.n_kept(), 8);
            let [leave, enter] = [&weights, &gradient].map(|scores| || Ok(Cow::from(&scores[..])));
            let swapped =
                swapped(&info, &mask, &Mask::full(8), counts, leave, Some(enter), structure)
                    .unwrap();
            [swapped.mask, swapped.anew].map(|mask| mask.kept().collect::<Vec<usize>>())
        };
        // Of the two rows the smaller one leaves, and the row with the largest mean gradient enters.
        let rows = Channels { axis: 0 };
        assert_eq!(of(&[0, 1, 4, 5], &rows), [vec![0, 1, 6, 7], vec![6, 7]]);
        // Each row keeps one weight. The last two rows have no large weight to keep, and use the one with the largest
        // gradient.
        assert_eq!(of(&[0, 2, 4, 7], &FanIn), [vec![0, 2, 4, 6], vec![6]]);
    }

    #[test]
    fn counts_of_both_kinds() {
        let counts = |n_retained, n_entering| Counts { n_retained, n_entering };
        assert_eq!(Counts::replacing(0.3, 10, 10, 40), counts(7, 3));
        // No more weights can enter.
        assert_eq!(Counts::replacing(0.3, 10, 10, 11), counts(9, 1));
        // Two weights were lost before.
        assert_eq!(Counts::replacing(0.5, 12, 10, 40), counts(5, 7));
        assert_eq!(Counts::replacing(0.5, 12, 10, 11), counts(9, 2));
        assert_eq!(Counts::exceeding(0.3, 10, 13, 40), counts(10, 3));
        assert_eq!(Counts::exceeding(0.0, 10, 13, 40), counts(10, 0));
        assert_eq!(Counts::exceeding(0.3, 10, 10, 12), counts(10, 2));
        assert_eq!(Counts::exceeding(0.3, 10, 8, 8), counts(8, 0));
    }
}
