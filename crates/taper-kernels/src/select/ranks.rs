//! Histograms over the bits of magnitudes.

const LOW_BITS: u32 = 15;
const N_HIGH: usize = 1 << (31 - LOW_BITS);
const N_LOW: usize = 1 << LOW_BITS;

/// The bits of `|w|`, ordered like `|w|`.
fn magnitude_bits(w: f32) -> u32 {
    w.to_bits() & 0x7fff_ffff
}

/// How many magnitudes fall into each bucket of equal upper bits.
pub(super) struct Ranks {
    counts: Vec<u64>,
    n: u64,
}

/// An order statistic.
pub(super) struct Found {
    /// The magnitude of the rank that was asked for.
    pub(super) value: f32,
    /// How many magnitudes are greater than it.
    pub(super) n_above: u64,
}

impl Ranks {
    pub(super) fn of(slices: &[&[f32]]) -> Self {
        let mut counts = vec![0u64; N_HIGH];
        for &w in slices.iter().flat_map(|s| s.iter()) {
            counts[(magnitude_bits(w) >> LOW_BITS) as usize] += 1;
        }
        Self { n: counts.iter().sum(), counts }
    }

    /// The magnitude of rank `rank`, counted from 0 at the smallest, of the slices that this was built from.
    pub(super) fn select(&self, slices: &[&[f32]], rank: u64) -> Found {
        assert!(rank < self.n, "rank {rank} of {} weights", self.n);
        let (high, n_below_bucket) = find(&self.counts, rank);
        let mut low_counts = vec![0u64; N_LOW];
        for &w in slices.iter().flat_map(|s| s.iter()) {
            let bits = magnitude_bits(w);
            if (bits >> LOW_BITS) as usize == high {
                low_counts[bits as usize % N_LOW] += 1;
            }
        }
        let (low, n_below_low) = find(&low_counts, rank - n_below_bucket);
        let n_not_above = n_below_bucket + n_below_low + low_counts[low];
        Found {
            value: f32::from_bits(((high << LOW_BITS) | low) as u32),
            n_above: self.n - n_not_above,
        }
    }
}

/// The bucket that holds `rank`, and the number of entries below that bucket.
fn find(counts: &[u64], rank: u64) -> (usize, u64) {
    let mut below = 0;
    for (bucket, &count) in counts.iter().enumerate() {
        if rank < below + count {
            return (bucket, below);
        }
        below += count;
    }
    unreachable!("rank {rank} of {below} entries")
}
