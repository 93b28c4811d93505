//! When weights were pruned, and what became of them.

use crate::{choose::LayerCut, cut::relative};
use taper_core::Step;
use taper_kernels::mask::Mask;

/// Entry of a kept weight in [`Since`].
const KEPT: u32 = u32::MAX;

/// The step at which each weight of each layer was pruned, or [`KEPT`].
pub(crate) type Since = Vec<Vec<u32>>;

/// Updates the record of a layer after a mask update.
fn note(since: &mut [u32], before: &Mask, now: &Mask, step: Step) {
    let at = u32::try_from(step.0).unwrap_or(KEPT - 1).min(KEPT - 1);
    before.difference(now).kept().for_each(|left| since[left] = at);
    now.difference(before).kept().for_each(|entered| since[entered] = KEPT);
}

/// Number of magnitude classes of pruned weights: tenths of the threshold.
pub const N_DECILES: usize = 10;
/// Age classes; see [`age_class`].
pub const N_AGES: usize = 20;
/// Code of a kept weight.
const NOT_PRUNED: u8 = u8::MAX;

/// Whether a byte is a valid code of [`Probe::codes`].
pub(crate) fn is_code(code: u8) -> bool {
    code == NOT_PRUNED || usize::from(code) < N_DECILES * N_AGES
}

/// The smallest age in steps of an age class, below [`N_AGES`].
pub fn least_age(class: usize) -> u64 {
    if class == 0 { 0 } else { 1 << (class - 1) }
}

/// The age class of a weight that was pruned `age` steps ago: 0 for 0 steps, and k for `2^(k−1)` to `2^k − 1` steps.
/// The last class has no upper limit.
pub fn age_class(age: u64) -> usize {
    ((u64::BITS - age.leading_zeros()) as usize).min(N_AGES - 1)
}

/// The weights that were pruned at one step, by magnitude and age, and which of them have been kept since.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probe {
    pub(crate) step: Step,
    /// Decile and age class of each weight of each layer, or [`NOT_PRUNED`].
    pub(crate) codes: Vec<Vec<u8>>,
    /// The pruned weights that were kept in a later step.
    pub(crate) back: Vec<Mask>,
}

impl Probe {
    /// Codes of the weights of one layer; `since` has the step at which each weight was pruned.
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

    /// Adds the weights that are kept now.
    fn note<'a>(&mut self, kept: impl Iterator<Item = &'a Mask>) {
        for (back, kept) in self.back.iter_mut().zip(kept) {
            *back = back.union(kept);
        }
    }

    /// Counts by decile and age; `kept` is the final mask.
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

/// Records of pruned weights, for rules that drop by age and for probes.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The step at which each weight was pruned, if this is recorded.
    pub(crate) since: Option<Since>,
    pub(crate) probes: Vec<Probe>,
}

impl History {
    /// Empty records of layers of these sizes; `is_followed` enables the record of steps.
    pub(crate) fn new(sizes: impl Iterator<Item = usize>, is_followed: bool) -> Self {
        let since = is_followed.then(|| sizes.map(|n| vec![KEPT; n]).collect());
        Self { since, probes: Vec::new() }
    }

    /// Records a mask update.
    pub(crate) fn note(&mut self, before: &[LayerCut], now: &[LayerCut], step: Step) {
        for ((since, now), before) in self.since.iter_mut().flatten().zip(now).zip(before) {
            note(since, &before.mask, &now.mask, step);
        }
        for probe in self.probes.iter_mut().filter(|probe| probe.step < step) {
            // The masks before include what prune-and-regrow changed in the step of the probe.
            probe.note(before.iter().map(|cut| &*cut.mask));
            probe.note(now.iter().map(|cut| &*cut.mask));
        }
    }

    /// Records the weights that are pruned in this step.
    pub(crate) fn probe(&mut self, weights: &[&[f32]], cut: &[LayerCut], step: Step) {
        let Some(since) = &self.since else { return };
        let layers = weights.iter().zip(cut).zip(since);
        let codes = layers
            .map(|((weights, cut), since)| Probe::codes(weights, cut.at, &cut.mask, since, step))
            .collect();
        let back = cut.iter().map(|cut| Mask::empty(cut.mask.len())).collect();
        self.probes.push(Probe { step, codes, back });
    }

    /// What became of the weights of all probes; `cut` has the final masks.
    pub(crate) fn fates(&self, cut: &[LayerCut]) -> Vec<Fate> {
        let fates = self.probes.iter().flat_map(|probe| {
            // Weights that are kept now have come back, too.
            let mut probe = probe.clone();
            probe.note(cut.iter().map(|cut| &*cut.mask));
            probe.counts(cut.iter().map(|cut| &*cut.mask))
        });
        fates.collect()
    }
}

/// What became of the weights that were pruned at a step, for one decile and one age class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The step of the probe.
    pub step: Step,
    /// Tenth of the threshold: 0 for `|w|` up to a tenth of it, 9 for the last tenth below it.
    pub decile: usize,
    /// How long the weights had been pruned at that step, as a class; see [`age_class`].
    pub age: usize,
    /// Number of these weights.
    pub n_pruned: u64,
    /// How many of them were kept in some later step.
    pub n_back: u64,
    /// How many of them are kept now.
    pub n_kept: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_classes_double_in_length() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8].map(age_class), [0, 1, 2, 2, 3, 3, 4]);
        assert_eq!(age_class(u64::MAX), N_AGES - 1);
        assert!((0..N_AGES).all(|class| age_class(least_age(class)) == class));
        assert!(N_AGES * N_DECILES <= usize::from(NOT_PRUNED));
    }

    #[test]
    fn a_probe_follows_the_weights_that_it_recorded() {
        let weights = [0.05f32, 0.95, 2.0, 0.5, 1.0];
        let kept = Mask::above(&weights, 1.0);
        let mut since = vec![KEPT; 5];
        note(&mut since, &Mask::full(5), &kept, Step(10));
        assert_eq!(since, [10, 10, KEPT, 10, 10]);
        let codes = Probe::codes(&weights, 1.0, &kept, &since, Step(13));
        // Three steps ago: age class 2. A weight at the threshold is in the last tenth.
        assert_eq!(codes, [20, 29, NOT_PRUNED, 25, 29]);
        let mut probe = Probe { step: Step(13), codes: vec![codes], back: vec![Mask::empty(5)] };
        let mut now = kept.clone();
        now.set(1, true);
        now.set(2, false);
        probe.note(std::iter::once(&now));
        note(&mut since, &kept, &now, Step(14));
        assert_eq!(since, [10, KEPT, 14, 10, 10]);
        // One of the two close to the threshold came back and was pruned again.
        let fates = probe.counts(std::iter::once(&kept));
        let near = fates.iter().find(|fate| fate.decile == 9).unwrap();
        assert_eq!((near.n_pruned, near.n_back, near.n_kept, near.age), (2, 1, 0, 2));
        assert_eq!(probe.counts(std::iter::once(&now)).iter().map(|f| f.n_kept).sum::<u64>(), 1);
        assert_eq!(fates.iter().map(|fate| fate.n_pruned).sum::<u64>(), 4);
    }
}
