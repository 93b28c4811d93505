//! Keyed random numbers: the crop of an image in an epoch does not depend on the order of calls.

use taper_core::rng::Rng;

fn main() {
    let crop = |seed, epoch, index| {
        let mut rng = Rng::for_key([seed, epoch, index]);
        (rng.below(9), rng.below(9))
    };
    let forwards: Vec<_> = (0..4).map(|index| crop(0, 3, index)).collect();
    let mut backwards: Vec<_> = (0..4).rev().map(|index| crop(0, 3, index)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    println!("offsets of four images in epoch 3, the same in any order: {forwards:?}");
}
