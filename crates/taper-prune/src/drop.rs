//! Permanent pruning.

use crate::{cut::relative, error::PruneError};
use taper_core::{Sparsity, Step, rng::Rng};
use taper_kernels::mask::Mask;
use taper_schedule::Curve;

/// Which pruned weights are permanently pruned first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropRule {
    /// The smallest magnitudes relative to the threshold of the layer.
    Smallest,
    /// The weights that have been pruned for the longest time; of ties, the smallest.
    Longest,
    /// Random weights, as a control.
    Random {
        /// Seed of the order.
        seed: u64,
    },
}

impl DropRule {
    /// Names in experiment files.
    pub const NAMES: [&str; 3] = ["smallest", "longest", "random"];

    /// The rule of this name; `seed` is for `random`.
    pub fn by_name(name: &str, seed: u64) -> Option<Self> {
        let rules = [Self::Smallest, Self::Longest, Self::Random { seed }];
        let i = Self::NAMES.iter().position(|known| *known == name)?;
        Some(rules[i])
    }
}

/// Which fraction of the pruned weights is *dropped*, that is permanently pruned, and when. The value of a dropped
/// weight is 0; it receives no gradient, no weight decay and no momentum, and never returns.
///
/// The dropped set only grows. A fraction of 0 is plain straight-through training. A fraction of 1 from the start is
/// hard pruning: a weight that is pruned once stays pruned. A step becomes faster once about 70 % of the weights of a
/// layer are dropped: kernels then compute the gradient only for the other weights.
///
/// # References
/// A. Zachou (NTUA, 2025) asked how much of the pruned set still matters; the rules are ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropPolicy {
    /// Which weights are dropped first.
    pub rule: DropRule,
    /// Final fraction φ of the pruned weights, in `[0, 1]`.
    pub share: f64,
    /// How the fraction rises from 0 at `begin` to φ at `end`.
    pub curve: Curve,
    /// The first step at which weights are dropped.
    pub begin: Step,
    /// The step from which the fraction is φ. If it is not after `begin`, the fraction jumps to φ at `begin`.
    pub end: Step,
    /// Nothing is dropped while the sparsity of the schedule is below this.
    pub from: Sparsity,
}

impl DropPolicy {
    /// A constant fraction from the start of pruning.
    pub fn constant(rule: DropRule, share: f64) -> Self {
        let (begin, from) = (Step::ZERO, Sparsity::DENSE);
        Self { rule, share, curve: Curve::OneShot, begin, end: begin, from }
    }

    /// Checks the fraction.
    ///
    /// # Errors
    /// [`PruneError::DropShare`] if it is outside `[0, 1]`.
    pub fn check(&self) -> Result<(), PruneError> {
        match (0.0..=1.0).contains(&self.share) {
            true => Ok(()),
            false => Err(PruneError::DropShare { share: self.share }),
        }
    }

    /// The dropped fraction at a step with this sparsity of the schedule.
    pub fn share_at(&self, step: Step, sparsity: Sparsity) -> f64 {
        if step < self.begin || sparsity < self.from {
            return 0.0;
        }
        let (begin, end) = (self.begin.0 as f64, self.end.0 as f64);
        match step >= self.end {
            true => self.share,
            false => self.share * self.curve.at((step.0 as f64 - begin) / (end - begin)),
        }
    }
}

/// A layer as a rule reads it.
pub(crate) struct Candidates<'a> {
    pub(crate) weights: &'a [f32],
    pub(crate) cut: f32,
    pub(crate) kept: &'a Mask,
    pub(crate) dropped: &'a Mask,
    /// The step at which each weight was pruned, if this is recorded.
    pub(crate) since: Option<&'a [u32]>,
}

/// The first `n` weights in the order of a rule, as a mask of each layer.
pub(crate) fn first_dropped(rule: DropRule, layers: &[Candidates], n: usize) -> Vec<Mask> {
    let mut found: Vec<Mask> = layers.iter().map(|layer| Mask::empty(layer.kept.len())).collect();
    let mut ranked = Vec::new();
    for (place, layer) in layers.iter().enumerate() {
        let open = layer.kept.complement().difference(layer.dropped);
        ranked.extend(open.kept().map(|index| {
            // Non-negative floats have the order of their bits.
            let size = u64::from(relative(layer.weights[index], layer.cut).to_bits());
            let rank = match rule {
                DropRule::Smallest => (size, 0),
                DropRule::Longest => (layer.since.map_or(0, |since| u64::from(since[index])), size),
                DropRule::Random { seed } => {
                    (Rng::for_key([seed, place as u64, index as u64]).next_u64(), 0)
                }
            };
            (rank, place as u32, index as u32)
        }));
    }
    let n = n.min(ranked.len());
    if n > 0 && n < ranked.len() {
        ranked.select_nth_unstable(n - 1);
    }
    for &(_, place, index) in &ranked[..n] {
        found[place as usize].set(index as usize, true);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_may_be_constant_or_rise_and_waits_for_its_sparsity() {
        let s = |v| Sparsity::new(v).unwrap();
        let constant = DropPolicy::constant(DropRule::Smallest, 0.5);
        assert_eq!(constant.share_at(Step(0), s(0.1)), 0.5);
        let rising = DropPolicy {
            curve: Curve::Linear,
            begin: Step(10),
            end: Step(20),
            from: s(0.8),
            ..constant
        };
        let at = |step, sparsity| rising.share_at(Step(step), s(sparsity));
        assert_eq!(
            [at(9, 0.9), at(10, 0.9), at(15, 0.9), at(20, 0.9), at(99, 0.9)],
            [0.0, 0.0, 0.25, 0.5, 0.5]
        );
        assert_eq!(at(99, 0.79), 0.0);
        assert!(DropPolicy { share: 1.1, ..constant }.check().is_err());
        assert!(DropPolicy { share: f64::NAN, ..constant }.check().is_err());
    }

    #[test]
    fn each_rule_ranks_the_open_weights_of_all_layers_together() {
        let (first, second) = ([0.9f32, -0.1, 0.3, 0.2], [0.02f32, 0.05, 0.5, 0.0]);
        let kept = [&first, &second].map(|w| Mask::above(w, 0.4));
        let mut dropped = [Mask::empty(4), Mask::empty(4)];
        dropped[1].set(3, true);
        let since = [[u32::MAX, 5, 3, 9], [3, 8, u32::MAX, 0]];
        let layers: Vec<Candidates> = (0..2)
            .map(|i| Candidates {
                weights: [&first, &second][i],
                // Relative to their thresholds, the weights of the second layer are five times larger.
                cut: [0.4, 0.08][i],
                kept: &kept[i],
                dropped: &dropped[i],
                since: Some(&since[i]),
            })
            .collect();
        let chosen = |rule, n| {
            let masks = first_dropped(rule, &layers, n);
            masks.iter().map(|m| m.kept().collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert_eq!(chosen(DropRule::Smallest, 2), [vec![1], vec![0]]);
        assert_eq!(chosen(DropRule::Longest, 1), [vec![], vec![0]]);
        assert_eq!(chosen(DropRule::Longest, 3), [vec![1, 2], vec![0]]);
        assert_eq!(chosen(DropRule::Smallest, 99), [vec![1, 2, 3], vec![0, 1]]);
        let random = |seed| chosen(DropRule::Random { seed }, 2);
        assert_eq!(random(1), random(1));
        assert!((2..20).any(|seed| random(seed) != random(1)));
    }
}
