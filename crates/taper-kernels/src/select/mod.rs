//! Order statistics of magnitudes over several slices, without concatenating or sorting them.
//!
//! A sample of the weights gives two magnitudes that enclose the order statistic with high probability. One pass counts
//! the magnitudes below and collects those between, a few percent. The order statistic is then selected exactly from
//! these. If it is not among them, all weights are searched. NaN ranks above infinity.

mod candidates;

use candidates::{CHUNK, select};
use rayon::prelude::*;

/// A magnitude threshold that keeps an exact number of weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExactCut {
    /// Weights of this magnitude or less are pruned, except for ties.
    pub at: f32,
    /// Number of weights with magnitude `at` that are kept, in index order.
    pub n_ties_kept: u64,
}

/// The threshold that keeps exactly the `n_keep` largest magnitudes. Equal magnitudes are kept in index order. If there
/// are not more than `n_keep` weights, all are kept.
///
/// `at` is the largest pruned magnitude. Without ties, exactly the magnitudes above it are kept.
///
/// ```
/// use taper_kernels::select::exact;
/// let cut = exact(&[&[0.1, -0.4], &[0.3, 0.2]], 1);
/// assert_eq!((cut.at, cut.n_ties_kept), (0.3, 0));
/// ```
pub fn exact(slices: &[&[f32]], n_keep: u64) -> ExactCut {
    let n = len(slices);
    if n_keep >= n {
        let n_zeros = slices.iter().flat_map(|s| s.iter()).filter(|&&w| w == 0.0).count() as u64;
        return ExactCut { at: 0.0, n_ties_kept: n_zeros };
    }
    let found = select(slices, n - n_keep - 1);
    ExactCut { at: found.value, n_ties_kept: n_keep - found.n_above }
}

/// The largest magnitude below `at`; 0 if there is none.
///
/// If some weights at a threshold `at` are kept, this is the largest magnitude below all kept weights.
///
/// ```
/// use taper_kernels::select::below;
/// assert_eq!(below(&[&[0.1, -0.4], &[0.4, -0.2]], 0.4), 0.2);
/// ```
pub fn below(slices: &[&[f32]], at: f32) -> f32 {
    let largest =
        |weights: &[f32]| weights.iter().map(|w| w.abs()).filter(|&w| w < at).fold(0.0, f32::max);
    let chunks: Vec<&[f32]> = slices.iter().flat_map(|s| s.chunks(CHUNK)).collect();
    chunks.into_par_iter().map(largest).reduce(|| 0.0, f32::max)
}

/// The `sparsity`-quantile of the magnitudes, with linear interpolation. Weights above it are kept.
///
/// With `s` the sorted magnitudes of all slices and `m = (n − 1)·sparsity`,
///
/// ```text
/// threshold = s[⌊m⌋] + (s[⌈m⌉] − s[⌊m⌋])·(m − ⌊m⌋)
/// ```
///
/// where `m` is computed in f64 and the rest in f32, as in the reference implementation of Feather. Without ties, it
/// prunes ⌊m⌋ + 1 weights.
///
/// # Panics
/// If there are no weights, or `sparsity` is outside `[0, 1]`.
pub fn interpolated(slices: &[&[f32]], sparsity: f64) -> f32 {
    let n = len(slices);
    assert!(n > 0, "there are no weights to take a quantile of");
    assert!((0.0..=1.0).contains(&sparsity), "sparsity {sparsity} is outside [0, 1]");
    let position = (n - 1) as f64 * sparsity;
    let (below, above) = (position.floor(), position.ceil());
    let found = select(slices, below as u64);
    let low = found.value;
    let high = if above > below { found.next.unwrap_or(low) } else { low };
    low + (high - low) * ((position - below) as f32)
}

fn len(slices: &[&[f32]]) -> u64 {
    slices.iter().map(|s| s.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;
    use proptest::prelude::*;

    fn sorted(slices: &[&[f32]]) -> Vec<f32> {
        let mut all: Vec<f32> = slices.iter().flat_map(|s| s.iter().map(|w| w.abs())).collect();
        all.sort_by(f32::total_cmp);
        all
    }

    fn kept(slices: &[&[f32]], cut: ExactCut) -> u64 {
        let mut ties = cut.n_ties_kept;
        slices.iter().map(|s| Mask::above_with_ties(s, cut.at, &mut ties).n_kept()).sum()
    }

    /// Few distinct values, which makes ties common, and every kind of finite float.
    fn finite_weight() -> impl Strategy<Value = f32> {
        prop_oneof![
            (-4i8..4).prop_map(|v| f32::from(v) / 4.0),
            -1.0f32..1.0,
            Just(0.0),
            Just(-0.0),
            Just(f32::MIN_POSITIVE / 4.0),
        ]
    }

    fn weight() -> impl Strategy<Value = f32> {
        prop_oneof![9 => finite_weight(), 1 => Just(f32::INFINITY)]
    }

    proptest! {
        #[test]
        fn exactly_as_many_are_kept_as_asked(
            a in prop::collection::vec(weight(), 0..80), b in prop::collection::vec(weight(), 1..80), n_keep in 0u64..170,
        ) {
            let slices = [&a[..], &b[..]];
            prop_assert_eq!(kept(&slices, exact(&slices, n_keep)), n_keep.min((a.len() + b.len()) as u64));
        }

        #[test]
        fn the_magnitude_below_is_the_neighbour_in_order(
            a in prop::collection::vec(weight(), 0..80), b in prop::collection::vec(weight(), 1..80), at in 0usize..160,
        ) {
            let slices = [&a[..], &b[..]];
            let all = sorted(&slices);
            let at = all[at % all.len()];
            let neighbour = all.iter().rev().find(|&&w| w < at).copied().unwrap_or(0.0);
            prop_assert_eq!(below(&slices, at), neighbour);
        }

        #[test]
        fn the_quantile_is_that_of_the_sorted_magnitudes(
            a in prop::collection::vec(-1.0f32..1.0, 0..80), b in prop::collection::vec(finite_weight(), 1..80), s in 0.0..=1.0f64,
        ) {
            let slices = [&a[..], &b[..]];
            let all = sorted(&slices);
            let m = (all.len() - 1) as f64 * s;
            let (low, high) = (all[m.floor() as usize], all[m.ceil() as usize]);
            prop_assert_eq!(interpolated(&slices, s), low + (high - low) * ((m - m.floor()) as f32));
        }
    }

    /// More weights than the sample, in an order that misleads it, and with NaN and infinity.
    #[test]
    fn the_threshold_of_many_weights_is_exact() {
        let mut weights: Vec<f32> =
            (0..200_000).map(|i| ((i as f32) * 0.37).sin() * (i % 9) as f32).collect();
        for (what, at) in [(f32::NAN, 77), (f32::INFINITY, 5_000), (0.0, 100_000)] {
            weights[at] = what;
        }
        let sorted_up: Vec<f32> = (0..200_000).map(|i| i as f32).collect();
        let ties = vec![0.5; 150_000];
        for variant in crate::simd::Variant::available() {
            for slices in [
                vec![&weights[..]],
                vec![&weights[..70_001], &weights[70_001..]],
                vec![&sorted_up[..]],
                vec![&ties[..], &weights[..100_000]],
            ] {
                let mut bits: Vec<u32> = slices
                    .iter()
                    .flat_map(|s| s.iter().map(|w| w.to_bits() & 0x7fff_ffff))
                    .collect();
                bits.sort_unstable();
                let n = bits.len() as u64;
                for n_keep in [0, 1, 2, n / 50, n / 20, n / 2, n - 1] {
                    let cut = variant.with(|| exact(&slices, n_keep));
                    let at = bits[(n - n_keep - 1) as usize];
                    assert_eq!(cut.at.to_bits(), at, "{variant} {n_keep} of {n}");
                    let n_above = bits.iter().filter(|&&b| b > at).count() as u64;
                    assert_eq!(cut.n_ties_kept, n_keep - n_above, "{variant} {n_keep} of {n}");
                }
            }
        }
    }

    #[test]
    fn keeping_all_keeps_zeros_too() {
        let weights: &[f32] = &[0.0, 1.0, -0.0];
        assert_eq!(kept(&[weights], exact(&[weights], 3)), 3);
        assert_eq!(kept(&[weights], exact(&[weights], 0)), 0);
    }

    #[test]
    fn no_weights_have_a_threshold_of_zero() {
        assert_eq!(exact(&[], 5), ExactCut { at: 0.0, n_ties_kept: 0 });
    }

    #[test]
    fn neighbours_in_the_last_bit_are_distinguished() {
        let bits = 0.1f32.to_bits();
        let weights: Vec<f32> = (0..100).map(|i| f32::from_bits(bits + (i * 37) % 100)).collect();
        assert_eq!(exact(&[&weights], 60).at.to_bits(), bits + 39);
    }
}
