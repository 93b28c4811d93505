//! Finds the magnitude threshold over the weights of several layers, without concatenating or sorting them.
#![allow(clippy::disallowed_methods, reason = "makes inputs; their bits do not matter")]

use taper_kernels::{mask::Mask, select};

fn main() {
    let wave = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<_>>();
    let (conv, linear) = (wave(1_000_000, 0.37), wave(50_000, 0.11));
    let layers: [&[f32]; 2] = [&conv, &linear];
    let cut = select::exact(&layers, 52_500);
    let mut ties = cut.n_ties_kept;
    for (name, weights) in ["conv", "linear"].iter().zip(layers) {
        let mask = Mask::above_with_ties(weights, cut.at, &mut ties);
        println!("{name}: {} of {} weights are above {}", mask.n_kept(), mask.len(), cut.at);
    }
}
