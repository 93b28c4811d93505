//! The order of the images in an epoch, and which keys of the generator stand for what.

use taper_core::rng::Rng;

/// Last part of the key of an epoch's order.
const ORDER: u64 = 1;
/// Last part of the key of an image's crop and flip.
pub(crate) const AUGMENT: u64 = 2;
/// Last part of the key `[class, 3]` of the images of a class that are held out.
pub(crate) const VALIDATION: u64 = 3;

/// The order in which an epoch visits `n` images: a permutation of `0..n` drawn from the key
/// `[seed, epoch, 1]`.
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
        // Computed by a separate program from the documented rule.
        assert_eq!(shuffled(8, 0, 0), [6, 2, 0, 3, 1, 4, 7, 5]);
        assert_ne!(shuffled(8, 0, 0), shuffled(8, 0, 1));
        assert_ne!(shuffled(8, 1, 0), shuffled(8, 0, 1), "seed and epoch must not be exchangeable");
    }
}
