//! Swapping kept weights for others.

use crate::cut::Quantile;
use std::borrow::Cow;
use taper_kernels::mask::Mask;

/// The mask of a layer in which a share of what was kept has been swapped: the weights of the lowest score leave, and of all
/// that is open and not retained, those of the highest score of growth enter. What has just left may come back.
pub(crate) fn swapped<'a>(
    kept: &Mask,
    open: &Mask,
    share: f64,
    leave: impl FnOnce() -> Cow<'a, [f32]>,
    enter: impl FnOnce() -> Cow<'a, [f32]>,
) -> Mask {
    let n_kept = kept.n_kept();
    let n_swapped =
        ((share * n_kept as f64).floor() as u64).min(open.n_kept().saturating_sub(n_kept));
    if n_swapped == 0 {
        return kept.clone();
    }
    let retained = best(&leave(), kept, n_kept - n_swapped);
    let entering = best(&enter(), &open.difference(&retained), n_swapped);
    retained.union(&entering)
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
