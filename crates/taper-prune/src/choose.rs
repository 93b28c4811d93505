//! Mask selection: groups, their thresholds, and the masks of their layers.

use crate::{
    allocation::{AllocationError, Group, Layer},
    choices::Choices,
    criterion::{Criterion, View},
    error::PruneError,
    structure::{Demand, Scored},
};
use std::{borrow::Cow, sync::Arc};
use taper_core::{LayerId, LayerInfo, Sparsity, Step};
use taper_kernels::mask::Mask;
use taper_nn::ops::with_values;

/// The threshold and the mask of a layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerCut {
    pub(crate) at: f32,
    pub(crate) mask: Arc<Mask>,
}

/// Input for the selection of masks.
pub(crate) struct Asked<'a> {
    pub(crate) step: Step,
    pub(crate) sparsity: Sparsity,
    pub(crate) criterion: &'a dyn Criterion,
    /// The gradient of each layer, if the criterion needs it.
    pub(crate) gradients: Option<&'a [Vec<f32>]>,
    /// The permanently pruned weights of each layer, if there is a drop policy.
    pub(crate) dropped: Option<&'a [Mask]>,
    /// The current thresholds and masks.
    pub(crate) before: &'a [LayerCut],
}

impl Choices {
    /// The layers that are ranked together, and how many weights each group keeps.
    pub(crate) fn groups(&self, sparsity: Sparsity) -> Result<Vec<Group>, PruneError> {
        let layers: Vec<Layer> =
            self.infos().enumerate().map(|(i, info)| Layer { id: LayerId(i), info }).collect();
        let groups = self.allocation.allocate(&layers, sparsity)?;
        let mut n_of = vec![0u32; layers.len()];
        for id in groups.iter().flat_map(|group| &group.layers) {
            let n_layers = layers.len();
            let n = n_of.get_mut(id.0);
            *n.ok_or(AllocationError::Unknown { layer: id.0, n_layers })? += 1;
        }
        if let Some(layer) = n_of.iter().position(|&n| n != 1) {
            let (n_groups, n_layers) = (n_of[layer], layers.len());
            return Err(AllocationError::Layer { layer, n_groups, n_layers }.into());
        }
        if let Some(groups) = self.quotas(&groups, sparsity)? {
            return Ok(groups);
        }
        let n_keep = sparsity.n_kept(layers.iter().map(|layer| layer.info.n_weights()).sum());
        let n_kept = groups.iter().map(|group| group.n_keep).sum();
        if n_kept != n_keep {
            return Err(AllocationError::Sum { n_kept, n_keep, overall: sparsity.get() }.into());
        }
        Ok(groups)
    }

    /// The group number of each layer at this sparsity; `None` for layers that are left dense.
    pub(crate) fn group_numbers(
        &self,
        sparsity: Sparsity,
    ) -> Result<Vec<Option<usize>>, PruneError> {
        let mut numbers = vec![None; self.layers.len()];
        if !sparsity.is_dense() {
            let groups = self.groups(sparsity)?.into_iter().enumerate();
            for (number, group) in groups.filter(|(_, group)| !group.sparsity.is_dense()) {
                group.layers.iter().for_each(|id| numbers[id.0] = Some(number));
            }
        }
        Ok(numbers)
    }

    /// One group for each layer of the allocation's groups, if the structure decides how many weights a layer keeps;
    /// else `None`.
    ///
    /// # Errors
    /// [`PruneError::Structure`] for a layer that the structure does not fit.
    fn quotas(
        &self,
        groups: &[Group],
        sparsity: Sparsity,
    ) -> Result<Option<Vec<Group>>, PruneError> {
        let structure = &self.structure;
        // This runs in every step; single weights have no quota.
        if structure.is_single() {
            return Ok(None);
        }
        let (mut quotas, mut has_quota) = (Vec::new(), false);
        for group in groups {
            for &id in &group.layers {
                let info = &self.layers[id.0].0;
                let n = info.n_weights();
                let n_keep = match group.sparsity.is_dense() {
                    true => Some(n),
                    false => {
                        structure.check(info).map_err(|reason| misfit(info, &reason))?;
                        structure.quota(info, sparsity)
                    }
                };
                has_quota |= n_keep.is_some() && !group.sparsity.is_dense();
                let n_keep = n_keep.unwrap_or(n);
                let sparsity = Sparsity::of(n_keep, n);
                quotas.push(Group { layers: vec![id], n_keep, sparsity });
            }
        }
        Ok(has_quota.then_some(quotas))
    }

    /// Rejects a target sparsity that the structure cannot have.
    fn check_quota(&self, target: Sparsity) -> Result<(), PruneError> {
        // A layer that does not fit is left dense; otherwise `quotas` rejects it.
        let layers = self.infos().filter(|info| self.structure.check(info).is_ok());
        let wanted = layers.filter_map(|info| {
            let n_keep = self.structure.quota(info, target)?;
            let has = Sparsity::of(n_keep, info.n_weights());
            ((has.get() - target.get()).abs() > 1e-9).then_some(has)
        });
        match { wanted }.next() {
            Some(has) => {
                let (has, target) = (has.get(), target.get());
                let reason = format!(
                    "the target sparsity is {target}, but the structure has sparsity {has}; set the target to {has}"
                );
                Err(PruneError::Structure { reason })
            }
            None => Ok(()),
        }
    }

    /// Rejects a target that cannot be met or keeps no weight.
    pub(crate) fn check_target(&self) -> Result<(), PruneError> {
        let (target, n_weights) = (self.target(), self.infos().map(LayerInfo::n_weights).sum());
        self.check_quota(target)?;
        // The rounded target counts as well: an interpolated threshold prunes a single weight at any sparsity above 0.
        if self.n_kept_at(target)? > 0 || target.n_kept(n_weights) > 0 {
            return Ok(());
        }
        // An interpolated threshold over all layers keeps a weight at any sparsity below 1.
        let nearly_all = Sparsity::saturating(1f64.next_down());
        let largest = match self.n_kept_at(nearly_all)? {
            0 => Sparsity::largest(n_weights),
            _ => nearly_all,
        };
        Err(PruneError::Target { target: target.get(), n_weights, largest: largest.get() })
    }

    /// How many weights are kept at this sparsity.
    fn n_kept_at(&self, sparsity: Sparsity) -> Result<u64, PruneError> {
        let size = |id: &LayerId| self.layers[id.0].0.n_weights();
        let n_kept = |group: &Group| {
            let n = group.layers.iter().map(size).sum();
            self.quantile.n_kept(n, group.n_keep, group.sparsity)
        };
        Ok(self.groups(sparsity)?.iter().map(n_kept).sum())
    }

    /// Thresholds and masks of every layer, from the current weights; permanently pruned weights are 0.
    pub(crate) fn choose(&self, asked: &Asked) -> Result<Vec<LayerCut>, PruneError> {
        if self.has_learned_cuts() {
            return self.cut_as_learned(asked);
        }
        let groups =
            if asked.sparsity.is_dense() { Vec::new() } else { self.groups(asked.sparsity)? };
        let retired = self.retired(asked);
        with_values(&self.tensors(), |weights| {
            let mut cut: Vec<LayerCut> = (0..weights.len())
                .map(|i| asked.layer_cut(i, 0.0, Mask::full(weights[i].len())))
                .collect();
            for group in groups.iter().filter(|g| !g.layers.is_empty()) {
                let n: usize = group.layers.iter().map(|id| weights[id.0].len()).sum();
                // Checked by sparsity, not by count: an interpolated threshold prunes even if the count rounds up to
                // all weights.
                if n == 0 || group.sparsity.is_dense() {
                    continue; // The group stays dense.
                }
                let views: Vec<View> = group
                    .layers
                    .iter()
                    .map(|&id| self.view(id, weights[id.0], asked.gradients, asked.step))
                    .collect();
                let scores = views.iter().map(|v| asked.scores(v, retired.as_deref()));
                let scores = scores.collect::<Result<Vec<Cow<[f32]>>, _>>()?;
                let scored: Vec<Scored> = views
                    .iter()
                    .zip(&scores)
                    .map(|(view, scores)| Scored { info: view.info, scores })
                    .collect();
                let (n_keep, sparsity) = (group.n_keep, group.sparsity);
                let demand = Demand { n_keep, sparsity, quantile: self.quantile };
                let chosen = self.structure.choose(&scored, &demand);
                for (i, layer) in scored.iter().enumerate() {
                    let len = chosen.masks.get(i).map_or(0, Mask::len);
                    if len as u64 != layer.info.n_weights() {
                        let reason = wrong_length("a mask", layer.info, len);
                        return Err(PruneError::Structure { reason });
                    }
                }
                for (view, mask) in views.iter().zip(chosen.masks) {
                    // Without a magnitude threshold, weights do not shrink.
                    let mut at = asked.criterion.magnitude(view, chosen.at).unwrap_or(0.0);
                    if at > 0.0 && at != chosen.at {
                        // The magnitude of a score is rounded, but no kept weight may shrink to 0.
                        at = at.min(smallest(view.weights, &mask).next_down().max(0.0));
                    }
                    cut[view.id.0] = asked.layer_cut(view.id.0, at, mask);
                }
                let weights: Vec<&[f32]> = group.layers.iter().map(|id| weights[id.0]).collect();
                asked.keep_cut(group, &weights, &mut cut);
            }
            Ok(cut)
        })?
    }

    /// The pruned weights of each layer, if pruned weights are 0 and the sparsity rises. They rank below all other
    /// weights, for any criterion.
    fn retired(&self, asked: &Asked) -> Option<Vec<Mask>> {
        if !self.remainder.is_zero {
            return None;
        }
        let n: u64 = self.infos().map(LayerInfo::n_weights).sum();
        let n_kept = asked.before.iter().map(|cut| cut.mask.n_kept()).sum();
        let n_keep = asked.sparsity.n_kept(n);
        // Rules other than top-k choose masks only if the sparsity has changed, even if the count is the same.
        let is_rising = n_keep < n_kept || n_keep == n_kept && !self.renewal.is_top_k();
        (n_kept < n && is_rising)
            .then(|| asked.before.iter().map(|cut| cut.mask.complement()).collect())
    }

    /// Keeps the weights above the learned thresholds of the operator.
    fn cut_as_learned(&self, asked: &Asked) -> Result<Vec<LayerCut>, PruneError> {
        Ok(with_values(&self.tensors(), |weights| {
            let layers = weights.iter().enumerate();
            let cut = layers.map(|(i, weights)| {
                let at = self.operator.cut(LayerId(i)).unwrap_or(0.0);
                asked.layer_cut(i, at, Mask::above(weights, at))
            });
            cut.collect()
        })?)
    }
}

impl Asked<'_> {
    /// The scores of a layer. Permanently pruned and retired weights have 0 and rank below all others.
    fn scores<'a>(
        &self,
        view: &View<'a>,
        retired: Option<&[Mask]>,
    ) -> Result<Cow<'a, [f32]>, PruneError> {
        let mut scores = scores(self.criterion, view)?;
        for dropped in [self.dropped, retired].into_iter().flatten() {
            let dropped = &dropped[view.id.0];
            if dropped.kept().any(|index| scores[index] != 0.0) {
                let scores = scores.to_mut();
                dropped.kept().for_each(|index| scores[index] = 0.0);
            }
        }
        Ok(scores)
    }

    /// A layer's mask without permanently pruned weights: a falling schedule may request more weights than remain.
    fn layer_cut(&self, layer: usize, at: f32, mask: Mask) -> LayerCut {
        let mask = match self.dropped {
            Some(dropped) => mask.difference(&dropped[layer]),
            None => mask,
        };
        LayerCut { at, mask: Arc::new(mask) }
    }

    /// If every pruned weight of a group is permanently pruned, all of them are 0. They give no threshold, and a
    /// shrinking operator would stop shrinking. The threshold then stays at its last value, below all kept weights.
    fn keep_cut(&self, group: &Group, layers: &[&[f32]], cut: &mut [LayerCut]) {
        let Some(dropped) = self.dropped else { return };
        let is_open = |id: &LayerId| {
            let mask = &cut[id.0].mask;
            mask.n_kept() + dropped[id.0].n_kept() < mask.len() as u64
        };
        if group.layers.iter().any(is_open) {
            return;
        }
        let kept = group.layers.iter().zip(layers);
        let smallest = kept
            .map(|(id, weights)| smallest(weights, &cut[id.0].mask))
            .fold(f32::INFINITY, f32::min);
        for id in &group.layers {
            let before = self.before[id.0].at;
            cut[id.0].at = cut[id.0].at.max(before).min(smallest.next_down().max(0.0));
        }
    }
}

/// The smallest magnitude of the kept weights; infinite if there are none.
fn smallest(weights: &[f32], mask: &Mask) -> f32 {
    mask.kept().map(|index| weights[index].abs()).fold(f32::INFINITY, f32::min)
}

/// The scores of a layer by any criterion.
///
/// # Errors
/// If the criterion does not have a score for each weight.
pub(crate) fn scores<'a>(
    criterion: &dyn Criterion,
    view: &View<'a>,
) -> Result<Cow<'a, [f32]>, PruneError> {
    let scores = criterion.scores(view);
    if scores.len() != view.weights.len() {
        let reason = wrong_length("scores", view.info, scores.len());
        return Err(PruneError::Criterion { reason });
    }
    Ok(scores)
}

/// The fault of a criterion or structure that returns a number of values that a layer does not have.
fn wrong_length(what: &str, info: &LayerInfo, n: usize) -> String {
    let (name, n_weights) = (&info.name, info.n_weights());
    format!(
        "{name} has {n_weights} weights, but {what} of {n} values; return a value for each weight"
    )
}

fn misfit(info: &LayerInfo, reason: &str) -> PruneError {
    let name = &info.name;
    let reason = format!(
        "{name}: {reason}; leave the layer dense with a pin of 0, or choose another structure"
    );
    PruneError::Structure { reason }
}
