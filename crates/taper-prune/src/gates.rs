//! Gates from masks: which weights receive which gradient.

use crate::{
    DeadFilters, PrunedUpdate, Quantile,
    choices::Choices,
    choose::LayerCut,
    dead::{Filters, dead_filters},
    error::PruneError,
    operator::Gated,
};
use candle_core::{Tensor, Var};
use std::sync::Arc;
use taper_core::{LayerId, LayerInfo, Sparsity, Step, rng::Rng};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{Gate, Gates, Sampling, Value, ops::with_values};
use taper_scale::PrunedGrad;

/// Which weights of a layer receive a gradient in a step, and how it is computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Update {
    /// The live set: weights that receive a gradient; `None` for all.
    pub(crate) live: Option<Arc<Mask>>,
    sampling: Option<Sampling>,
}

impl Update {
    fn of_live(live: Arc<Mask>) -> Self {
        Self { live: Some(live), sampling: None }
    }

    /// Removes these weights from the live set.
    fn leave_out(&mut self, weights: &Mask) {
        if weights.n_kept() > 0 {
            let live = match &self.live {
                Some(live) => live.difference(weights),
                None => weights.complement(),
            };
            self.live = Some(Arc::new(live));
        }
    }
}

/// Input for the gates of a step or of an evaluation.
pub(crate) struct Imposing<'a> {
    pub(crate) choices: &'a Choices,
    pub(crate) step: Step,
    pub(crate) sparsity: Sparsity,
    pub(crate) cut: &'a [LayerCut],
    /// Whether gradients choose masks in this step: pruned weights then need their full gradient.
    pub(crate) reads_gradients: bool,
}

impl Imposing<'_> {
    /// The live set of each layer in a step, and a factor on the gradient of pruned weights.
    pub(crate) fn updates(
        &self,
        dropped: Option<&[Mask]>,
    ) -> Result<(Vec<Update>, f32), PruneError> {
        let all = |update: Update| vec![update; self.cut.len()];
        if self.reads_gradients {
            return Ok((all(Update::default()), 1.0));
        }
        let remainder = &self.choices.remainder;
        if remainder.is_zero || self.choices.operator.is_frozen() {
            return Ok((self.of_kept(), 1.0));
        }
        let (mut updates, times) = match remainder.update {
            PrunedUpdate::EveryStep => (all(Update::default()), 1.0),
            PrunedUpdate::EveryNth(n) if self.step.0.is_multiple_of(n) => {
                (all(Update::default()), n as f32)
            }
            PrunedUpdate::EveryNth(_) => (self.of_kept(), 1.0),
            PrunedUpdate::Sampled { share, seed } => {
                let key = Rng::for_key([seed, self.step.0]).next_u64();
                let sampling = Some(Sampling { share, key });
                (all(Update { sampling, ..Update::default() }), 1.0)
            }
            PrunedUpdate::Live { margin } => (self.live(margin)?, 1.0),
        };
        for (update, dropped) in updates.iter_mut().zip(dropped.into_iter().flatten()) {
            update.leave_out(dropped);
        }
        if self.choices.dead_filters == DeadFilters::Silent {
            let layers = self.choices.infos().zip(self.cut);
            for (update, (info, cut)) in updates.iter_mut().zip(layers) {
                update.leave_out(&silent(info, &cut.mask));
            }
        }
        Ok((updates, times))
    }

    /// Live sets of kept weights only.
    fn of_kept(&self) -> Vec<Update> {
        self.cut.iter().map(|cut| Update::of_live(cut.mask.clone())).collect()
    }

    /// The kept weights and the largest pruned ones, `margin` times the number of kept weights of their group.
    fn live(&self, margin: f64) -> Result<Vec<Update>, PruneError> {
        let groups = match self.sparsity.is_dense() {
            true => Vec::new(),
            false => self.choices.groups(self.sparsity)?,
        };
        Ok(with_values(&self.choices.tensors(), |weights| {
            let mut updates = vec![Update::default(); weights.len()];
            for group in groups {
                let layers: Vec<&[f32]> = group.layers.iter().map(|id| weights[id.0]).collect();
                let n_live = (group.n_keep as f64 * (1.0 + margin)).ceil() as u64;
                let near = Quantile::Exact.choose(&layers, n_live, 0.0).masks;
                for (id, near) in group.layers.iter().zip(near) {
                    // A held mask may keep weights that are no longer among the largest.
                    let live = near.union(&self.cut[id.0].mask);
                    updates[id.0] = Update::of_live(Arc::new(live));
                }
            }
            updates
        })?)
    }

    /// The gates; `times` is a factor on the gradient of pruned weights.
    pub(crate) fn gates(&self, updates: Vec<Update>, times: f32) -> Result<Gates, PruneError> {
        let of_all = match self.reads_gradients {
            true => PrunedGrad::uniform(1.0),
            false => self.choices.pruned_grad(self.step, self.sparsity),
        };
        let is_per_layer = self.choices.remainder.gradient.is_per_layer();
        let gate = |((cut, update), value): ((&LayerCut, Update), Option<Value>)| {
            let (n_kept, n) = (cut.mask.n_kept(), cut.mask.len() as u64);
            let PrunedGrad { at_zero, at_cut } = match is_per_layer {
                true => self.choices.pruned_grad(self.step, Sparsity::of(n_kept, n)),
                false => of_all,
            };
            Some(Gate {
                value: value?,
                cut: cut.at,
                mask: cut.mask.clone(),
                live: update.live,
                sampling: update.sampling,
                grad_at_zero: times * at_zero,
                grad_at_cut: times * at_cut,
            })
        };
        Ok(Gates::new(self.cut.iter().zip(updates).zip(self.values()?).map(gate).collect()))
    }

    /// The values of kept weights; `None` for a layer that needs no gate.
    fn values(&self) -> Result<Vec<Option<Value>>, PruneError> {
        // A threshold above 0 shrinks the weights of a layer even if the layer keeps all of them.
        let is_changed = |cut: &LayerCut| cut.at > 0.0 || cut.mask.n_kept() < cut.mask.len() as u64;
        if let Some(threshold) = self.choices.operator.threshold() {
            let layers = self.cut.iter();
            return Ok(layers.map(|cut| is_changed(cut).then(|| threshold.into())).collect());
        }
        let Choices { layers, operator, .. } = self.choices;
        let groups = self.choices.group_numbers(self.sparsity)?;
        let given = with_gated(layers, self.cut, &groups, self.step, |l| operator.values(l))?;
        if given.len() != layers.len() {
            let (found, n) = (given.len(), layers.len());
            let reason = format!(
                "it returns values of {found} layers; return an entry for each of the {n} layers"
            );
            return Err(PruneError::Operator { reason });
        }
        for ((info, _), values) in layers.iter().zip(&given) {
            if let Some(values) = values
                && values.len() as u64 != info.n_weights()
            {
                let (name, n, found) = (&info.name, info.n_weights(), values.len());
                let reason = format!(
                    "{name} has {n} weights, but values of {found}; return one for each weight"
                );
                return Err(PruneError::Operator { reason });
            }
        }
        let hard = Value::from(Threshold::Hard);
        let value = |(cut, given): (&LayerCut, Option<Vec<f32>>)| match given {
            Some(values) => Some(Value::Given(Arc::new(values))),
            None => is_changed(cut).then(|| hard.clone()),
        };
        Ok(self.cut.iter().zip(given).map(value).collect())
    }
}

/// The same gates, with the full gradient for every weight.
pub(crate) fn with_whole_gradients(gates: &Gates, n_layers: usize) -> Gates {
    let whole = |gate: &Gate| Gate {
        live: None,
        sampling: None,
        grad_at_zero: 1.0,
        grad_at_cut: 1.0,
        ..gate.clone()
    };
    Gates::new((0..n_layers).map(|i| gates.get(LayerId(i)).map(whole)).collect())
}

/// Calls `look` with the layers of a step as an operator reads them; `groups` has the group number of each layer.
pub(crate) fn with_gated<T>(
    layers: &[(LayerInfo, Var)],
    cut: &[LayerCut],
    groups: &[Option<usize>],
    step: Step,
    look: impl FnOnce(&[Gated]) -> T,
) -> Result<T, PruneError> {
    let tensors: Vec<&Tensor> = layers.iter().map(|(_, var)| var.as_tensor()).collect();
    Ok(with_values(&tensors, |weights| {
        let layers = layers.iter().zip(weights).zip(cut).zip(groups).enumerate();
        let gated = layers.map(|(i, ((((info, _), weights), cut), &group))| {
            let (id, mask, cut) = (LayerId(i), &*cut.mask, cut.at);
            Gated { id, info, weights, mask, cut, group, step }
        });
        look(&gated.collect::<Vec<_>>())
    })?)
}

/// The weights of a layer's dead filters.
fn silent(info: &LayerInfo, mask: &Mask) -> Mask {
    let mut silent = Mask::empty(mask.len());
    let filters = Filters::of(info);
    let dead = dead_filters(info, mask).into_iter();
    dead.flat_map(|filter| filters.weights(filter))
        .flatten()
        .for_each(|index| silent.set(index, true));
    silent
}
