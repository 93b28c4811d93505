//! Randomness by key: the draws for image 17 of epoch 3 do not depend on who asks first.

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
    println!("offsets of four images in epoch 3, in any order of asking: {forwards:?}");
}
