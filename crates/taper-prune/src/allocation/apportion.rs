//! Apportionment of whole numbers of weights to layers, by a divisor method.

/// The claim of a layer on kept weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    /// Upper bound: the number of weights of the layer.
    pub(super) full: u64,
    /// Lower bound.
    pub(super) least: u64,
    /// The count is proportional to this between the two bounds; above 0.
    pub(super) size: f64,
}

impl Claim {
    /// A claim without a lower bound. A size that has under- or overflowed, or is NaN, becomes the nearest possible
    /// size.
    pub(super) fn new(full: u64, size: f64) -> Self {
        let size = if size > 0.0 { size.min(f64::MAX) } else { f64::MIN_POSITIVE };
        Self { full, least: 0, size }
    }

    /// Position of the `k`-th weight of this layer, counted from 1, in the order of all weights.
    fn place(self, k: u64) -> f64 {
        if k <= self.least { 0.0 } else { (k as f64 - 0.5) / self.size }
    }

    /// Number of weights of this layer at or before `place`.
    fn count(self, place: f64) -> u64 {
        // At most a rounding error away from the result.
        let mut count = ((place * self.size).round() as u64).clamp(self.least, self.full);
        while count > self.least && self.place(count) > place {
            count -= 1;
        }
        while count < self.full && self.place(count + 1) <= place {
            count += 1;
        }
        count
    }
}

/// Number of kept weights of each layer, `n_keep` in total: Webster's (Sainte-Laguë's) method with bounds.
///
/// The weights of all layers form one order: first the lower bounds, then the `k`-th weight of a layer at position
/// `(k − ½)/size`; of ties, the lower layer comes first. The first `n_keep` weights of this order are kept. The order
/// does not depend on `n_keep`, so a smaller `n_keep` keeps a prefix, and no layer keeps more than before: the method
/// is *house-monotone*. Within the bounds, counts are proportional to the sizes up to rounding, even if some layers are
/// full.
///
/// The position of the last kept weight is found by bisection over the bits of a float, with about 63 counts of each
/// layer.
///
/// `n_keep` must be at least the sum of the lower bounds. Above the sum of all weights, every layer is full.
///
/// # References
/// M. L. Balinski and H. P. Young, *Fair Representation*, 1982.
pub(super) fn apportion(claims: &[Claim], n_keep: u64) -> Vec<u64> {
    let counts = |place: f64| claims.iter().map(move |claim| claim.count(place));
    // Non-negative floats have the order of their bits. All positions are at or before infinity.
    let (mut before, mut last) = (0.0f64.to_bits(), f64::INFINITY.to_bits());
    if counts(0.0).sum::<u64>() >= n_keep {
        return counts(0.0).collect();
    }
    while last - before > 1 {
        let middle = before + (last - before) / 2;
        match counts(f64::from_bits(middle)).sum::<u64>() >= n_keep {
            true => last = middle,
            false => before = middle,
        }
    }
    let mut kept: Vec<u64> = counts(f64::from_bits(before)).collect();
    let mut left = n_keep - kept.iter().sum::<u64>();
    for (kept, count) in kept.iter_mut().zip(counts(f64::from_bits(last))) {
        let more = left.min(count - *kept);
        (*kept, left) = (*kept + more, left - more);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims(sizes: &[(u64, f64)]) -> Vec<Claim> {
        sizes.iter().map(|&(full, size)| Claim::new(full, size)).collect()
    }

    /// Scalar reference: takes the weights one by one in this order.
    fn one_by_one(claims: &[Claim], n_keep: u64) -> Vec<u64> {
        let mut kept: Vec<u64> = claims.iter().map(|claim| claim.least).collect();
        while kept.iter().sum::<u64>() < n_keep {
            let open = (0..claims.len()).filter(|&i| kept[i] < claims[i].full);
            let place = |&i: &usize| claims[i].place(kept[i] + 1);
            let Some(next) = open.min_by(|a, b| place(a).total_cmp(&place(b))) else { break };
            kept[next] += 1;
        }
        kept
    }

    #[test]
    fn by_hand() {
        let of = |sizes: &[u64], n| {
            let claims: Vec<Claim> = sizes.iter().map(|&n| Claim::new(n, n as f64)).collect();
            apportion(&claims, n)
        };
        // By largest remainders 11 weights are (5, 5, 1) and 10 are (4, 4, 2).
        assert_eq!(of(&[6, 6, 2], 11), [5, 5, 1]);
        assert_eq!(of(&[6, 6, 2], 10), [5, 4, 1]);
        // Positions 0.05, 0.15, …; 0.0166, 0.05, …: the second weight of the larger layer is tied with the first of the
        // other layer.
        assert_eq!(of(&[10, 30], 1), [0, 1]);
        assert_eq!(of(&[10, 30], 2), [1, 1]);
        assert_eq!(of(&[3, 0, 3], 6), [3, 0, 3]);
        assert_eq!(of(&[3, 3], 99), [3, 3]);
        assert_eq!(of(&[], 0), [0u64; 0]);
        // The first layer is full with 10; the others share the remaining 40 in proportion to their sizes.
        assert_eq!(apportion(&claims(&[(10, 5.0), (100, 1.0), (100, 3.0)]), 50), [10, 10, 30]);
        // A lower bound comes first.
        let bounded = [Claim { least: 8, ..Claim::new(10, 10.0) }, Claim::new(90, 90.0)];
        assert_eq!([8, 9, 53].map(|n| apportion(&bounded, n)), [[8, 0], [8, 1], [8, 45]]);
        assert_eq!(apportion(&bounded, 90), [9, 81]);
    }

    #[test]
    fn sizes_at_the_limits_of_floats_still_add_up() {
        for size in [0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX, -1.0] {
            let claims = claims(&[(40_000_000, size), (1_000, 1.0)]);
            for n_keep in [0, 1, 1_000, 20_000_000, 40_000_999, 40_001_000] {
                assert_eq!(apportion(&claims, n_keep).iter().sum::<u64>(), n_keep, "{size}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_bisection_finds_the_prefix_of_the_order(
            sizes in prop::collection::vec((0u64..40, 0.01..100f64, 0.0..=1.0f64), 1..8),
        ) {
            let claims: Vec<Claim> = sizes
                .iter()
                .map(|&(full, size, least)| {
                    // Every other size is the number of weights: ties are then common.
                    let size = if full % 2 == 0 { full as f64 } else { size };
                    let least = if least < 0.3 { (least * full as f64) as u64 } else { 0 };
                    Claim { least, ..Claim::new(full, size) }
                })
                .collect();
            let least: u64 = claims.iter().map(|claim| claim.least).sum();
            let full: u64 = claims.iter().map(|claim| claim.full).sum();
            for n_keep in least..=full {
                prop_assert_eq!(apportion(&claims, n_keep), one_by_one(&claims, n_keep));
            }
        }
    }
}
