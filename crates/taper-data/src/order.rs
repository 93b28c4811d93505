//! The order of the images in an epoch, and the keys of the random number generator.

use taper_core::rng::Rng;

/// Last part of the key for the order of an epoch: `[seed, epoch, 1]`.
const ORDER: u64 = 1;
/// Last part of the key for crop and flip of an image: `[seed, epoch, index, 2]`.
pub(crate) const AUGMENT: u64 = 2;
/// Last part of the key for the held-out images of a class: `[class, 3]`.
pub(crate) const VALIDATION: u64 = 3;

/// The order of `n` images in an epoch: a random permutation of `0..n` with the key `[seed, epoch, 1]`.
pub(crate) fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    Rng::for_key([seed, epoch, ORDER]).permutation(n).into_iter().map(|i| i as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_of_their_epoch_and_seed() {
        for n in [0, 1, 2, 100, 1442] {
            let mut order = shuffled(n, 9, 4);
            order.sort_unstable();
            assert_eq!(order, (0..n as u32).collect::<Vec<_>>());
        }
        // Expected values from a separate implementation of the documented rule.
        assert_eq!(shuffled(8, 0, 0), [6, 2, 0, 3, 1, 4, 7, 5]);
        assert_ne!(shuffled(8, 0, 0), shuffled(8, 0, 1));
        assert_ne!(
            shuffled(8, 1, 0),
            shuffled(8, 0, 1),
            "seed and epoch are different parts of the key"
        );
    }
}
