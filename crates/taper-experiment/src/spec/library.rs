//! Converts a resolved experiment to values of the library: recipe, schedule, pruner.

use super::{Resolved, parts::Parts, together};
use crate::error::usage;
use std::str::FromStr;
use taper::{
    core::{Sparsity, Step},
    data::{Augment, ImageShape, Normalisation},
    nn::Params,
    prune::{
        DropPolicy, Pruner, PrunerBuilder,
        allocation::{Allocation, Pin, Pinned, Switched},
        renewal::Factor,
    },
    scale::GradientScale,
    schedule::{Adaptation, Adaptive, ClosedForm, Phases, Points, Ramp, SparsitySchedule},
    train::Recipe,
};

impl Resolved {
    /// Images per step.
    pub fn batch_size(&self) -> usize {
        self.train().batch_size.unwrap_or(1) as usize
    }

    /// The number of images to use per split; `None` for all.
    pub fn limit(&self) -> Option<usize> {
        positive(self.train().limit).map(|n| n as usize)
    }

    /// How many of `n` training images are held out for choices between epochs; `None` for no hold-out.
    pub fn n_validation(&self, n: usize) -> Option<usize> {
        super::validation::n_held_out(self.train().validation?, n)
    }

    /// The settings that choose between epochs by accuracy, as text; `None` without such a setting.
    pub fn choices(&self) -> Option<&'static str> {
        match (self.early_stop().is_some(), self.checkpointing().2) {
            (true, true) => Some("train.early_stop and train.keep_best"),
            (true, false) => Some("train.early_stop"),
            (false, true) => Some("train.keep_best"),
            (false, false) => None,
        }
    }

    /// The augmentation of training images.
    pub fn augment(&self) -> anyhow::Result<Augment> {
        Augment::from_str(self.train().augment.as_deref().unwrap_or_default()).map_err(usage)
    }

    /// The normalisation of pixels, checked against the channels of a data set.
    pub fn normalisation(&self, data: &str, shape: ImageShape) -> anyhow::Result<Normalisation> {
        let normalisation =
            Normalisation::by_name(self.train().normalise.as_deref().unwrap_or_default())
                .map_err(usage)?;
        let (have, want) = (normalisation.channels(), shape.channels);
        if have != want {
            let name = self.train().normalise.as_deref().unwrap_or_default();
            return Err(usage(format!(
                "train.normalise `{name}` is for {have} channels, but the images of {data} have {want}"
            )));
        }
        Ok(normalisation)
    }

    /// The recipe of the training loop.
    pub fn recipe(&self) -> Recipe {
        let t = self.train();
        Recipe {
            epochs: t.epochs.unwrap_or(0),
            max_steps: positive(t.max_steps),
            lr: t.lr.unwrap_or(0.0),
            warmup_epochs: t.warmup_epochs.unwrap_or(0.0),
            momentum: t.momentum.unwrap_or(0.0),
            weight_decay: t.weight_decay.unwrap_or(0.0),
            clip_norm: t.clip_norm.filter(|&norm| norm > 0.0),
            label_smoothing: t.label_smoothing.unwrap_or(0.0),
            eval_every: t.eval_every.unwrap_or(1),
        }
    }

    /// Steps between checkpoints within an epoch, the number of checkpoints to keep, and whether to keep the best. With
    /// learned thresholds, each epoch has a different sparsity, so no best is kept.
    pub fn checkpointing(&self) -> (Option<u64>, usize, bool) {
        let t = self.train();
        (
            positive(t.checkpoint_every),
            t.keep_last.unwrap_or(1) as usize,
            t.keep_best.unwrap_or(false) && !self.finds_own(),
        )
    }

    /// Whether TensorBoard's event files are written.
    pub fn writes_tensorboard(&self) -> bool {
        self.train().tensorboard.unwrap_or(false)
    }

    /// Epochs without improvement after which training ends.
    pub fn early_stop(&self) -> Option<u64> {
        positive(self.train().early_stop).filter(|_| !self.finds_own())
    }

    /// The step of a run of `total` steps at which the last of several phases begins; 0 for other schedules.
    pub(crate) fn phases_end(&self, total: u64) -> Step {
        let has_phases = self.prune().schedule.as_deref() == Some("phases");
        share_of(total, self.prune().end.filter(|_| has_phases))
    }

    /// The pruner of a run of `total` steps, including `warmup` warm-up steps; `None` for a dense run.
    pub fn pruner(
        &self,
        params: &Params,
        total: u64,
        warmup: u64,
    ) -> anyhow::Result<Option<Pruner>> {
        if self.is_dense() {
            return Ok(None);
        }
        let built = self.builder(params, total, warmup)?.build();
        Ok(Some(built.map_err(|error| together::refusal(self.prune(), error))?))
    }

    /// The builder of that pruner.
    pub(super) fn builder(
        &self,
        params: &Params,
        total: u64,
        warmup: u64,
    ) -> anyhow::Result<PrunerBuilder> {
        let (p, parts, at) = (self.prune(), self.parts()?, |share| share_of(total, share));
        let schedule = self.schedule(total)?;
        let drop = parts.remainder.drop;
        let (swaps, last) = (self.swaps_between(total), Step(total).previous());
        let (rate, lr) = (self.learning_rate(total, warmup)?, self.train().lr.unwrap_or(1.0));
        let rate = Factor::new(move |step| rate.at(step.0) / lr);
        let builder = Pruner::builder(params.prunable(), schedule, total)
            .operator(parts.operator.ending(at(Some(p.freeze.unwrap_or(1.0)))))
            .criterion(parts.criterion)
            .structure(parts.structure)
            .renewal(parts.renewal.between(swaps, last, |x| at(Some(x)), rate))
            .remainder(parts.remainder)
            .dead_filters(parts.dead_filters)
            .probe_at(probes(p.probes.unwrap_or(0), total))
            .quantile(parts.quantile)
            .initial_scale(parts.initial_scale);
        let builder = match drop {
            None => builder,
            Some(policy) => {
                let (begin, end) = (at(p.drop_begin), at(p.drop_end));
                builder.drop(DropPolicy { begin, end, ..policy })
            }
        };
        let mut pins: Vec<Pin> = p
            .pins
            .iter()
            .flatten()
            .map(|(pattern, &at_most)| {
                Ok(Pin {
                    pattern: pattern.clone(),
                    at_most: Sparsity::new(at_most).map_err(usage)?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        // The first pin that matches counts, and a TOML table has no order: more specific patterns go first.
        pins.sort_by_key(|pin| {
            let n_wild = pin.pattern.matches(['*', '?']).count();
            (n_wild > 0, std::cmp::Reverse(pin.pattern.len() - n_wild), pin.pattern.clone())
        });
        let pinned = |inner: Box<dyn Allocation>| -> Box<dyn Allocation> {
            match pins.is_empty() {
                true => inner,
                false => Box::new(Pinned { inner, pins: pins.clone() }),
            }
        };
        // Pins go inside `Switched`, since they change the sparsity of the other layers.
        let then = pinned(parts.allocation);
        Ok(match parts.begin_allocation.map(pinned) {
            None => builder.allocation(then),
            Some(first) => builder.allocation(Switched { until: parts.initial, first, then }),
        })
    }

    /// The steps between which weights are pruned and regrown, in a run of `total` steps.
    fn swaps_between(&self, total: u64) -> [Step; 2] {
        let p = self.prune();
        [p.swap_begin.unwrap_or(0.0), p.swap_end.unwrap_or(0.75)].map(|x| share_of(total, Some(x)))
    }

    /// Whether the method prunes and regrows weights, but a run of `total` steps has no step for it.
    pub(crate) fn never_swaps(&self, total: u64) -> bool {
        let [from, end] = self.swaps_between(total);
        let first = from.0.max(1).next_multiple_of(self.refresh_every());
        let has_swaps = self.prune().renewal.as_deref() == Some("swap");
        has_swaps && first >= end.0.min(total.saturating_sub(1))
    }

    /// The schedule of a run of `total` steps; for a dense run, its sparsity is always 0.
    pub fn schedule(&self, total: u64) -> anyhow::Result<Box<dyn SparsitySchedule>> {
        let (p, parts, at) = (self.prune(), self.parts()?, |share| share_of(total, share));
        let points = p.points.iter().flatten();
        let points: Vec<(Step, Sparsity)> =
            points.map(|&[x, y]| (at(Some(x)), Sparsity::saturating(y))).collect();
        let adaptation =
            parts.adaptation.map(|a| Adaptation { deadline: at(p.adapt_deadline), ..a });
        let Some(curve) = parts.curve else {
            // Each phase has at least one step, even in a short run.
            let length = |share: Option<f64>| at(share.or(Some(0.1))).0.max(1);
            let phases = Phases {
                target: self.sparsity(),
                begin: at(p.begin),
                sparse: length(p.sparse_phase),
                dense: length(p.dense_phase),
                last_dense: length(p.last_dense_phase.or(p.dense_phase)),
                end: at(p.end),
            };
            phases.check().map_err(|error| usage(format!("prune.schedule: {error}")))?;
            return Ok(Box::new(phases));
        };
        let ramp =
            Ramp::new(curve, at(p.begin), at(p.end), self.sparsity()).starting_at(parts.initial);
        // The zeros of a checkpoint stay until the ramp begins.
        let ramp = match self.is_sparse_start() {
            true => ramp.held(),
            false => ramp,
        };
        if points.is_empty() {
            return scheduled(ramp, adaptation);
        }
        // In a short run, several points can fall on one step; the last counts.
        let mut points: Vec<_> = points.into_iter().rev().collect();
        points.dedup_by_key(|point| point.0);
        points.reverse();
        let points = Points::new(points).map_err(|e| usage(format!("prune.points: {e}")))?;
        scheduled(points, adaptation)
    }

    /// The policy for the gradient of pruned weights.
    pub fn gradient(&self) -> anyhow::Result<Box<dyn GradientScale>> {
        Ok(self.parts()?.remainder.gradient)
    }

    pub(super) fn parts(&self) -> anyhow::Result<Parts> {
        Parts::of(self.prune(), self.train(), self.seed())
    }
}

/// The step at a fraction of all steps.
pub(super) fn share_of(total: u64, share: Option<f64>) -> Step {
    Step((share.unwrap_or(0.0) * total as f64).floor() as u64)
}

/// A closed form, adaptive if there is an adaptation.
fn scheduled(
    form: impl ClosedForm + SparsitySchedule + 'static,
    adaptation: Option<Adaptation>,
) -> anyhow::Result<Box<dyn SparsitySchedule>> {
    Ok(match adaptation {
        None => Box::new(form),
        Some(adaptation) => Box::new(Adaptive::new(form, adaptation).map_err(usage)?),
    })
}

/// The steps of `n` probes, spread evenly over a run.
fn probes(n: u64, total: u64) -> Vec<Step> {
    let mut steps: Vec<Step> = (1..=n).map(|i| Step(i * total / (n + 1))).collect();
    steps.dedup();
    steps
}

/// Reads 0 as none.
fn positive(n: Option<u64>) -> Option<u64> {
    n.filter(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;
    use taper_compose::Setting;

    #[test]
    fn validation_is_a_fraction_or_a_number() {
        let of = |value: &str| {
            let key = Setting::parse(&format!("train.validation={value}")).unwrap();
            Resolved::new(load(None, &[], &[key]).unwrap()).unwrap().n_validation(1442)
        };
        assert_eq!(
            [of("0"), of("0.1"), of("0.0001"), of("1"), of("500")],
            [None, Some(144), Some(0), Some(1), Some(500)]
        );
    }

    #[test]
    fn points_become_a_schedule_and_probes_are_spread_evenly() {
        let points = Setting::parse("prune.points=[[0.0, 0.0], [0.5, 0.6], [0.75, 0.9]]");
        let spec = load(None, &[], &[points.unwrap()]).unwrap();
        let own = Resolved::new(spec).unwrap().schedule(100).unwrap();
        assert_eq!(
            [0, 25, 50, 75, 99].map(|t| own.sparsity(Step(t)).get()),
            [0.0, 0.3, 0.6, 0.9, 0.9]
        );
        let ac_dc = |sets: &[&str]| {
            let sets: Vec<Setting> = sets.iter().map(|set| Setting::parse(set).unwrap()).collect();
            Resolved::new(load(None, &[], &sets).unwrap()).unwrap().phases_end(100)
        };
        assert_eq!(ac_dc(&["prune.method=ac-dc", "prune.end=0.8"]), Step(80));
        assert_eq!(ac_dc(&["prune.method=gmp", "prune.end=0.8"]), Step(0));
        assert_eq!(probes(3, 40), [10, 20, 30].map(Step));
        assert_eq!(probes(9, 2), [0, 1].map(Step));
    }
}
