//! Threshold and masks of a group, from its sparsity.

use taper_core::Sparsity;
use taper_kernels::{mask::Mask, select};

/// How the magnitude threshold between kept and pruned weights is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantile {
    /// Keeps exactly the requested number of weights; ties go to the lower index.
    #[default]
    Exact,
    /// Linear interpolation between neighbouring magnitudes, as in the reference implementation of Feather; prunes
    /// ⌊(n − 1)·s⌋ + 1 weights.
    Interpolated,
}

/// The threshold of a group and the masks of its layers.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The largest magnitude below all kept weights: an operator that shrinks by it leaves no kept weight at 0. It is 0
    /// if single magnitudes are not ranked.
    pub at: f32,
    /// The mask of each layer.
    pub masks: Vec<Mask>,
}

impl Quantile {
    /// How many of a group's `n` weights are kept, if all magnitudes differ.
    pub(crate) fn n_kept(self, n: u64, n_keep: u64, sparsity: Sparsity) -> u64 {
        match self {
            Self::Exact => n_keep,
            Self::Interpolated if sparsity.is_dense() => n,
            Self::Interpolated => {
                let last = n.saturating_sub(1);
                last.saturating_sub((last as f64 * sparsity.get()).floor() as u64)
            }
        }
    }

    /// Ranks the weights of `layers` together.
    pub(crate) fn choose(self, layers: &[&[f32]], n_keep: u64, sparsity: f64) -> Chosen {
        let (at, mut ties) = match self {
            Self::Exact => {
                let cut = select::exact(layers, n_keep);
                (cut.at, cut.n_ties_kept)
            }
            Self::Interpolated => (select::interpolated(layers, sparsity), 0),
        };
        let below = if ties > 0 { select::below(layers, at) } else { at };
        let masks = layers.iter().map(|w| Mask::above_with_ties(w, at, &mut ties)).collect();
        Chosen { at: below, masks }
    }
}

/// `|w| / threshold`, where `0/0` is 0: the magnitude of a pruned weight relative to its threshold.
pub(crate) fn relative(w: f32, cut: f32) -> f32 {
    if w == 0.0 { 0.0 } else { w.abs() / cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_quantiles_of_five_weights() {
        let layers: [&[f32]; 2] = [&[0.1, -0.2, 0.3], &[0.4, -0.5]];
        let kept =
            |q: Quantile| q.choose(&layers, 3, 0.4).masks.iter().map(Mask::n_kept).sum::<u64>();
        assert_eq!(kept(Quantile::Exact), 3);
        assert_eq!(kept(Quantile::Interpolated), 3);
        for sparsity in [0.3, 0.5, 0.75, 0.9, 0.99, 1.0] {
            let chosen = Quantile::Interpolated.choose(&layers, 3, sparsity);
            let n_kept: u64 = chosen.masks.iter().map(Mask::n_kept).sum();
            let sparsity = Sparsity::saturating(sparsity);
            assert_eq!(Quantile::Interpolated.n_kept(5, 3, sparsity), n_kept, "{sparsity}");
        }
        assert_eq!(Quantile::Interpolated.n_kept(5, 3, Sparsity::DENSE), 5);
        assert_eq!(Quantile::Exact.n_kept(5, 3, Sparsity::DENSE), 3);
        let chosen = Quantile::Interpolated.choose(&layers, 3, 0.5);
        assert_eq!((chosen.at, chosen.masks[0].n_kept(), chosen.masks[1].n_kept()), (0.3, 0, 2));
    }

    #[test]
    fn the_cut_is_below_all_that_is_kept() {
        let layers: [&[f32]; 2] = [&[0.5, -0.5, 0.1], &[0.5, -0.2, 0.7]];
        let cut = |n_keep| Quantile::Exact.choose(&layers, n_keep, 0.0).at;
        // Of three weights of 0.5, none, one and two are kept; then all of them.
        assert_eq!([1, 2, 3, 4, 5].map(cut), [0.5, 0.2, 0.2, 0.2, 0.1]);
        let equal: [&[f32]; 1] = [&[1.0, 1.0, -1.0]];
        assert_eq!(Quantile::Exact.choose(&equal, 2, 0.0).at, 0.0);
        assert_eq!(
            [relative(0.0, 0.0), relative(-1.0, 0.0), relative(-1.0, 2.0)],
            [0.0, f32::INFINITY, 0.5]
        );
    }
}
