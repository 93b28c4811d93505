//! Randomness as a function of where it is used: `(seed, epoch, index)` and a purpose.
//!
//! A [`Stream`] is SplitMix64 started at a state that mixes those four numbers, so the random crop of image 17 in
//! epoch 3 is the same whichever thread prepares it, in whatever order, and after a resume in the middle of an epoch.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a stream is used for; streams of different purposes are unrelated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The order of the images in an epoch.
    Order,
    /// Crop offsets and flips.
    Augment,
}

/// One step of SplitMix64: advance by the golden gamma, then scramble.
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A SplitMix64 generator.
///
/// ```
/// use taper_data::Stream;
/// let mut zero = Stream::from_state(0);
/// assert_eq!(zero.next_u64(), 0xe220a8397b1dcdaf);
/// assert_eq!(zero.next_u64(), 0x6e789e6aa1b965f4);
/// ```
#[derive(Debug, Clone)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// Starts SplitMix64 at `state`.
    pub fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// The stream of `index` in `epoch` under `seed`, for one `purpose`: its state is
    /// `mix(mix(mix(mix(seed) ^ purpose) ^ epoch) ^ index)`, where `mix` is the first output of SplitMix64 and `purpose`
    /// is 1 for the order and 2 for augmentation.
    pub fn at(seed: u64, epoch: u64, index: u64, purpose: Purpose) -> Self {
        let purpose = match purpose {
            Purpose::Order => 1,
            Purpose::Augment => 2,
        };
        Self { state: mix(mix(mix(mix(seed) ^ purpose) ^ epoch) ^ index) }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let out = mix(self.state);
        self.state = self.state.wrapping_add(GAMMA);
        out
    }

    /// A number in `0..n` (0 if `n` is 0), by the high half of a product. The bias is below `n / 2^64`, and one draw is
    /// always enough, which keeps the stream's position predictable.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }
}

/// The order in which an epoch visits `n` images: a Fisher-Yates shuffle of `0..n` driven by `(seed, epoch)`.
pub fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut stream = Stream::at(seed, epoch, 0, Purpose::Order);
    for i in (1..n).rev() {
        order.swap(i, stream.below(i as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_these_literal_values() {
        // Computed by hand-written Python from the documented rule.
        let mut s = Stream::at(7, 3, 17, Purpose::Augment);
        assert_eq!([s.next_u64(), s.next_u64()], [0x22b83bcffa4c080e, 0xcf19857c563a2129]);
        let mut s = Stream::at(7, 3, 17, Purpose::Order);
        assert_eq!(s.next_u64(), 0xd21ee991ecaab607);
        assert_eq!(shuffled(8, 0, 0), [6, 1, 3, 2, 4, 0, 5, 7]);
        assert_eq!(shuffled(8, 0, 1), [6, 0, 5, 4, 1, 2, 7, 3]);
    }

    #[test]
    fn every_argument_changes_the_stream() {
        let first =
            |seed, epoch, index, purpose| Stream::at(seed, epoch, index, purpose).next_u64();
        let base = first(1, 2, 3, Purpose::Augment);
        assert_ne!(base, first(2, 2, 3, Purpose::Augment));
        assert_ne!(base, first(1, 3, 3, Purpose::Augment));
        assert_ne!(base, first(1, 2, 4, Purpose::Augment));
        assert_ne!(base, first(1, 2, 3, Purpose::Order));
        assert_ne!(
            base,
            first(2, 1, 3, Purpose::Augment),
            "seed and epoch must not be exchangeable"
        );
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut s = Stream::from_state(5);
        let mut seen = [0u32; 9];
        for _ in 0..9000 {
            seen[s.below(9) as usize] += 1;
        }
        // Binomial with mean 1000 and deviation 30; 6 deviations either side.
        assert!(seen.iter().all(|&n| (820..1180).contains(&n)), "{seen:?}");
        assert_eq!(s.below(0), 0);
    }

    #[test]
    fn shuffles_are_permutations() {
        for n in [0, 1, 2, 100, 1442] {
            let mut order = shuffled(n, 9, 4);
            order.sort_unstable();
            assert_eq!(order, (0..n as u32).collect::<Vec<_>>());
        }
    }
}
