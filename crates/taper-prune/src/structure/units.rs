//! Ranking of units of several weights.

use super::{Demand, Scored};
use crate::cut::Chosen;
use std::ops::Range;
use taper_kernels::mask::Mask;

/// Index ranges of the weights of a unit.
pub(super) type Unit = Vec<Range<usize>>;

/// The mean magnitude of the `n` weights of a unit.
pub(super) fn mean(magnitudes: &mut dyn Iterator<Item = f64>, n: usize) -> f64 {
    magnitudes.sum::<f64>() / n.max(1) as f64
}

/// The largest magnitude of a unit.
pub(super) fn largest(magnitudes: &mut dyn Iterator<Item = f64>, _: usize) -> f64 {
    magnitudes.fold(0.0, f64::max)
}

/// Keeps the units with the largest `worth` while they fit into the number of weights to keep, and at least one. Of
/// ties, the unit of the earlier layer and the lower index is kept.
pub(super) fn choose(
    layers: &[Scored],
    demand: &Demand,
    worth: fn(&mut dyn Iterator<Item = f64>, usize) -> f64,
    of: impl Fn(&Scored) -> Vec<Unit>,
) -> Chosen {
    let units: Vec<Vec<Unit>> = layers.iter().map(of).collect();
    let mut ranked = Vec::new();
    for (place, (layer, units)) in layers.iter().zip(&units).enumerate() {
        for (index, unit) in units.iter().enumerate() {
            let weights = || unit.iter().cloned().flatten();
            let n = weights().count();
            let mut magnitudes = weights().map(|i| f64::from(layer.scores[i].abs()));
            ranked.push((worth(&mut magnitudes, n), n as u64, place, index));
        }
    }
    // Stable sort: ties stay in index order.
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut masks: Vec<Mask> = layers.iter().map(|l| Mask::empty(l.scores.len())).collect();
    let mut left = demand.n_keep;
    for (i, &(_, n, place, index)) in ranked.iter().enumerate() {
        if n > left && i > 0 {
            break;
        }
        left = left.saturating_sub(n);
        for weight in units[place][index].iter().cloned().flatten() {
            masks[place].set(weight, true);
        }
    }
    // Units have no magnitude threshold.
    Chosen { at: 0.0, masks }
}
