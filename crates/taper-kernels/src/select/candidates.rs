//! Finds the magnitudes near a rank, with the help of a sample.

use crate::{
    mask::{above, ones},
    simd::{Variant, launch},
};
use rayon::prelude::*;

/// Number of weights in the sample that estimates the position of a rank.
const SAMPLE: usize = 1 << 12;
/// Weights per task.
pub(super) const CHUNK: usize = 1 << 16;

/// The bits of `|w|`, ordered like `|w|`, NaN last.
fn magnitude_bits(w: f32) -> u32 {
    w.to_bits() & 0x7fff_ffff
}

/// An order statistic.
pub(super) struct Found {
    /// The magnitude at the requested rank.
    pub(super) value: f32,
    /// The magnitude at the next rank, if there is one.
    pub(super) next: Option<f32>,
    /// How many magnitudes are greater than `value`.
    pub(super) n_above: u64,
}

/// The magnitude of rank `rank`, counted from 0 at the smallest.
///
/// # Panics
/// If there are not that many weights.
pub(super) fn select(slices: &[&[f32]], rank: u64) -> Found {
    let n: u64 = slices.iter().map(|s| s.len() as u64).sum();
    assert!(rank < n, "rank {rank} of {n} weights");
    let last = (rank + 1).min(n - 1);
    let bracket = guess(slices, rank as f64 / n as f64);
    let (n_below, mut candidates) = bracket
        .map(|(low, high)| between(slices, low, high))
        .filter(|(n_below, found)| *n_below <= rank && last < n_below + found.len() as u64)
        .unwrap_or_else(|| {
            (0, slices.iter().flat_map(|s| s.iter()).map(|&w| magnitude_bits(w)).collect())
        });
    let (below, &mut value, rest) = candidates.select_nth_unstable((rank - n_below) as usize);
    let n_equal = 1 + rest.iter().filter(|&&bits| bits == value).count() as u64;
    Found {
        value: f32::from_bits(value),
        next: rest.iter().min().map(|&bits| f32::from_bits(bits)),
        n_above: n - n_below - below.len() as u64 - n_equal,
    }
}

/// Two magnitudes that enclose the `share`-quantile with high probability, from a sample of the weights.
fn guess(slices: &[&[f32]], share: f64) -> Option<(f32, f32)> {
    let n: usize = slices.iter().map(|s| s.len()).sum();
    // Odd and not a multiple of 3: layers repeat with the sizes of kernels and with powers of two.
    let mut step = (n / SAMPLE) | 1;
    step += if step.is_multiple_of(3) { 2 } else { 0 };
    let (mut sample, mut first) = (Vec::with_capacity(SAMPLE + 1), 0);
    for slice in slices {
        sample.extend(slice.iter().skip(first).step_by(step).map(|&w| magnitude_bits(w)));
        first = (first + step - slice.len() % step) % step;
    }
    sample.sort_unstable();
    let len = sample.len() as f64;
    // Five standard deviations of the rank in a random sample.
    let margin = 5.0 * (len * share * (1.0 - share)).sqrt() + 2.0;
    let at = |index: f64| sample.get(index as usize).map(|&bits| f32::from_bits(bits));
    let low = at((len * share - margin).floor().max(0.0))?;
    let low = if len * share < margin { 0.0 } else { low };
    let high = at((len * share + margin).ceil()).unwrap_or(f32::INFINITY);
    (!low.is_nan() && !high.is_nan()).then_some((low, high))
}

/// The number of magnitudes below `low`, and the magnitudes from `low` to `high`.
fn between(slices: &[&[f32]], low: f32, high: f32) -> (u64, Vec<u32>) {
    // Magnitudes that are not above this one are below `low`.
    let before = if low == 0.0 { -1.0 } else { f32::from_bits(low.to_bits() - 1) };
    let chunks: Vec<&[f32]> = slices.iter().flat_map(|s| s.chunks(CHUNK)).collect();
    let variant = Variant::current();
    let found: Vec<(u64, Vec<u32>)> = chunks
        .into_par_iter()
        .map(|weights| {
            let words = |at| launch(variant, above::Words { weights, at });
            let (mut n_below, mut candidates) = (weights.len() as u64, Vec::new());
            let words = words(before).into_iter().zip(words(high));
            for ((from_low, above_high), weights) in words.zip(weights.chunks(64)) {
                n_below -= u64::from(from_low.count_ones());
                let inside = ones(from_low & !above_high);
                candidates.extend(inside.map(|bit| magnitude_bits(weights[bit])));
            }
            (n_below, candidates)
        })
        .collect();
    found.into_iter().fold((0, Vec::new()), |(n, mut all), (n_below, mut candidates)| {
        all.append(&mut candidates);
        (n + n_below, all)
    })
}
