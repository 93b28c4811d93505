//! When weights were pruned, and what became of them.

use crate::{choose::LayerCut, cut::relative};
use taper_core::Step;
use taper_kernels::mask::Mask;

/// A kept weight's entry in [`Since`].
const KEPT: u32 = u32::MAX;

/// The step at which each weight of each layer was pruned, or [`KEPT`].
pub(crate) type Since = Vec<Vec<u32>>;

/// Brings the record of a layer up to date with a mask refresh.
fn note(since: &mut [u32], before: &Mask, now: &Mask, step: Step) {
    let at = u32::try_from(step.0).unwrap_or(KEPT - 1).min(KEPT - 1);
    before.difference(now).kept().for_each(|left| since[left] = at);
    now.difference(before).kept().for_each(|entered| since[entered] = KEPT);
}

/// Tenths of the cut that pruned weights are told apart by.
pub const N_DECILES: usize = 10;
/// Age classes; see [`age_class`].
pub const N_AGES: usize = 20;
/// Code of a weight that was kept.
const NOT_PRUNED: u8 = u8::MAX;

/// Whether a byte is one that [`Probe::codes`] writes.
pub(crate) fn is_code(code: u8) -> bool {
    code == NOT_PRUNED || usize::from(code) < N_DECILES * N_AGES
}

/// The least number of steps of an age class.
pub fn least_age(class: usize) -> u64 {
    if class == 0 { 0 } else { 1 << (class - 1) }
}

/// The age class of a weight pruned `age` steps ago: 0 for no step, and k for `2^(k−1)` to `2^k − 1`.
pub fn age_class(age: u64) -> usize {
    ((u64::BITS - age.leading_zeros()) as usize).min(N_AGES - 1)
}

/// The weights that were pruned at one step, by magnitude and age, and which of them have come back since.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probe {
    pub(crate) step: Step,
    /// Tenth of the cut and age class of each weight of each layer, or [`NOT_PRUNED`].
    pub(crate) codes: Vec<Vec<u8>>,
    /// Those of them that were kept in a step since.
    pub(crate) back: Vec<Mask>,
}

impl Probe {
    /// Looks at one layer; `since` says when its weights were pruned.
    fn codes(weights: &[f32], cut: f32, kept: &Mask, since: &[u32], step: Step) -> Vec<u8> {
        let mut codes = vec![NOT_PRUNED; weights.len()];
        for index in kept.complement().kept() {
            let share = relative(weights[index], cut);
            let decile = ((share * N_DECILES as f32) as usize).min(N_DECILES - 1);
            let age = age_class(step.0.saturating_sub(u64::from(since[index])));
            codes[index] = (age * N_DECILES + decile) as u8;
        }
        codes
    }

    /// Notes what is kept now.
    fn note<'a>(&mut self, kept: impl Iterator<Item = &'a Mask>) {
        for (back, kept) in self.back.iter_mut().zip(kept) {
            *back = back.union(kept);
        }
    }

    /// Counts by decile and age; `kept` is the mask at the end.
    fn counts<'a>(&self, kept: impl Iterator<Item = &'a Mask>) -> Vec<Fate> {
        let mut fates = vec![Fate::default(); N_DECILES * N_AGES];
        for ((codes, back), kept) in self.codes.iter().zip(&self.back).zip(kept) {
            for (index, &code) in codes.iter().enumerate().filter(|(_, code)| **code != NOT_PRUNED)
            {
                let fate = &mut fates[usize::from(code)];
                fate.n_pruned += 1;
                fate.n_back += u64::from(back.is_kept(index));
                fate.n_kept += u64::from(kept.is_kept(index));
            }
        }
        for (code, fate) in fates.iter_mut().enumerate() {
            (fate.step, fate.decile, fate.age) = (self.step, code % N_DECILES, code / N_DECILES);
        }
        fates.retain(|fate| fate.n_pruned > 0);
        fates
    }
}

/// The weights that a pruner follows: what they were when, for rules that drop by age and for probes.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// When each weight was pruned, if somebody asks.
    pub(crate) since: Option<Since>,
    pub(crate) probes: Vec<Probe>,
}

impl History {
    /// Of layers of these sizes, or of none if nobody asks.
    pub(crate) fn new(sizes: impl Iterator<Item = usize>, is_followed: bool) -> Self {
        let since = is_followed.then(|| sizes.map(|n| vec![KEPT; n]).collect());
        Self { since, probes: Vec::new() }
    }

    /// Takes a refresh down.
    pub(crate) fn note(&mut self, before: &[LayerCut], now: &[LayerCut], step: Step) {
        for ((since, now), before) in self.since.iter_mut().flatten().zip(now).zip(before) {
            note(since, &before.mask, &now.mask, step);
        }
        for probe in self.probes.iter_mut().filter(|probe| probe.step < step) {
            probe.note(now.iter().map(|cut| &*cut.mask));
        }
    }

    /// Looks at what is pruned in this step.
    pub(crate) fn probe(&mut self, weights: &[&[f32]], cut: &[LayerCut], step: Step) {
        let Some(since) = &self.since else { return };
        let layers = weights.iter().zip(cut).zip(since);
        let codes = layers
            .map(|((weights, cut), since)| Probe::codes(weights, cut.at, &cut.mask, since, step))
            .collect();
        let back = cut.iter().map(|cut| Mask::empty(cut.mask.len())).collect();
        self.probes.push(Probe { step, codes, back });
    }

    /// What has become of what probes have seen, with these masks at the end.
    pub(crate) fn fates(&self, cut: &[LayerCut]) -> Vec<Fate> {
        let fates = self.probes.iter().flat_map(|probe| {
            // What is kept now has come back, too.
            let mut probe = probe.clone();
            probe.note(cut.iter().map(|cut| &*cut.mask));
            probe.counts(cut.iter().map(|cut| &*cut.mask))
        });
        fates.collect()
    }
}

/// What became of the weights that were pruned at a step, at a distance from the cut and for a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The step.
    pub step: Step,
    /// Tenth of the cut: 0 for `|w|` up to a tenth of it, 9 for the last tenth below.
    pub decile: usize,
    /// How long they had been pruned, as a class; see [`age_class`].
    pub age: usize,
    /// How many they were.
    pub n_pruned: u64,
    /// How many of them were kept in a later step, perhaps not for long.
    pub n_back: u64,
    /// How many of them are kept now.
    pub n_kept: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_apart_by_doubling() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8].map(age_class), [0, 1, 2, 2, 3, 3, 4]);
        assert_eq!(age_class(u64::MAX), N_AGES - 1);
        assert!((0..N_AGES).all(|class| age_class(least_age(class)) == class));
        assert!(N_AGES * N_DECILES <= usize::from(NOT_PRUNED));
    }

    #[test]
    fn a_probe_follows_what_it_saw_pruned() {
        let weights = [0.05f32, 0.95, 2.0, 0.5, 1.0];
        let kept = Mask::above(&weights, 1.0);
        let mut since = vec![KEPT; 5];
        note(&mut since, &Mask::full(5), &kept, Step(10));
        assert_eq!(since, [10, 10, KEPT, 10, 10]);
        let codes = Probe::codes(&weights, 1.0, &kept, &since, Step(13));
        // Three steps ago: age class 2. A weight at the cut is in the last tenth.
        assert_eq!(codes, [20, 29, NOT_PRUNED, 25, 29]);
        let mut probe = Probe { step: Step(13), codes: vec![codes], back: vec![Mask::empty(5)] };
        let mut now = kept.clone();
        now.set(1, true);
        now.set(2, false);
        probe.note(std::iter::once(&now));
        note(&mut since, &kept, &now, Step(14));
        assert_eq!(since, [10, KEPT, 14, 10, 10]);
        // One of the two close to the cut came back, and left again.
        let fates = probe.counts(std::iter::once(&kept));
        let near = fates.iter().find(|fate| fate.decile == 9).unwrap();
        assert_eq!((near.n_pruned, near.n_back, near.n_kept, near.age), (2, 1, 0, 2));
        assert_eq!(probe.counts(std::iter::once(&now)).iter().map(|f| f.n_kept).sum::<u64>(), 1);
        assert_eq!(fates.iter().map(|fate| fate.n_pruned).sum::<u64>(), 4);
    }
}
