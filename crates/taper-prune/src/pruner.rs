//! The pruner: schedule → allocation → cuts → masks → gates → feedback.

use crate::{
    DeadFilters, Fate, LayerReport, PrunerBuilder, Report,
    count::n_kept,
    dead::{Filters, dead_filters},
    drop::DropRule,
    error::PruneError,
    gates::Update,
    history::{self, Probe, Since},
    prepare::Prepared,
    renewal::Moment,
    weight,
};
use candle_core::{Tensor, Var};
use std::{borrow::Borrow, sync::Arc};
use taper_core::{LayerId, LayerInfo, MaskFeedback, Sparsity, Step};
use taper_kernels::mask::Mask;
use taper_nn::{
    Gates,
    ops::{threshold, with_values},
};
use taper_scale::{Now, PrunedGrad};
use taper_schedule::{Ramp, SparsitySchedule};

/// Prunes the weights of a network step by step; see the [crate].
#[derive(Debug)]
pub struct Pruner {
    pub(crate) choices: PrunerBuilder,
    /// The step last begun, 0 before the first.
    pub(crate) step: Step,
    /// Whether a step was begun.
    pub(crate) has_begun: bool,
    pub(crate) sparsity: Sparsity,
    pub(crate) cut: Vec<LayerCut>,
    pub(crate) feedback: Option<MaskFeedback>,
    /// What the schedule was told in the step last begun.
    told_feedback: Option<MaskFeedback>,
    /// The step and masks that the schedule was last told of, if it listens over more than one step.
    pub(crate) told: Option<(Step, Vec<Arc<Mask>>)>,
    /// The dropped weights of each layer, if any can be.
    pub(crate) dropped: Option<Vec<Mask>>,
    /// Weights whose momentum must go in the step last begun.
    pub(crate) forgotten: Option<Vec<Mask>>,
    /// Whether masks are left to the gradients of the step last begun.
    pub(crate) is_pending: bool,
    /// What was measured for the step to come, or for the one last begun.
    pub(crate) prepared: Option<Prepared>,
    /// When each weight was pruned, if somebody asks.
    pub(crate) since: Option<Since>,
    pub(crate) probes: Vec<Probe>,
    /// Weights of each layer that are not 0 once pruned, in the step last begun.
    pub(crate) n_kept: Vec<u64>,
    /// Weights that get a gradient in the step last begun.
    n_live: u64,
}

/// What the last refresh decided for a layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerCut {
    pub(crate) at: f32,
    pub(crate) mask: Arc<Mask>,
}

impl Pruner {
    /// Starts building a pruner of these weights for a run of `total_steps`.
    pub fn builder<V: Borrow<Var>>(
        layers: impl IntoIterator<Item = (LayerInfo, V)>,
        schedule: impl SparsitySchedule + 'static,
        total_steps: u64,
    ) -> PrunerBuilder {
        let layers = layers.into_iter().map(|(info, var)| (info, var.borrow().clone())).collect();
        PrunerBuilder::new(layers, Box::new(schedule), total_steps)
    }

    /// Feather as published: cubic schedule over the first half of `total_steps`, one global cut, `p = 3`, and half
    /// the gradient for pruned weights above 95 %. Counts are exact.
    ///
    /// # Errors
    /// [`PruneError`] if there are no layers, or the target keeps no weight.
    pub fn feather<V: Borrow<Var>>(
        layers: impl IntoIterator<Item = (LayerInfo, V)>,
        target: Sparsity,
        total_steps: u64,
    ) -> Result<Self, PruneError> {
        Self::builder(layers, Ramp::feather(target, total_steps), total_steps).build()
    }

    pub(crate) fn from_builder(choices: PrunerBuilder) -> Result<Self, PruneError> {
        if choices.layers.iter().all(|(info, _)| info.n_weights() == 0) {
            return Err(PruneError::NoLayers);
        }
        weight::check(&choices.layers)?;
        choices.remainder.check()?;
        choices.check_renewal()?;
        choices.check_measures()?;
        choices.check_structure()?;
        let target = choices.schedule.target();
        let total = choices.total_steps;
        let last = Step(total).previous();
        let reached = choices.schedule.sparsity(last);
        if total > 0 && reached < target {
            let (reached, target) = (reached.get(), target.get());
            return Err(PruneError::NeverReached { reached, total, target });
        }
        // An adaptive schedule that has heard nothing says what it would do if masks were calm.
        if let Some(deadline) = choices.schedule.deadline().filter(|&step| total > 0 && step > last)
        {
            return Err(PruneError::Deadline { deadline: deadline.0, last: last.0 });
        }
        let cut = choices
            .layers
            .iter()
            .map(|(_, var)| LayerCut { at: 0.0, mask: Arc::new(Mask::full(var.elem_count())) })
            .collect();
        let sizes: Vec<usize> = choices.layers.iter().map(|(_, var)| var.elem_count()).collect();
        let drop = choices.remainder.drop;
        let is_followed =
            !choices.probes.is_empty() || drop.is_some_and(|d| d.rule == DropRule::Longest);
        let pruner = Self {
            step: Step::ZERO,
            has_begun: false,
            sparsity: Sparsity::DENSE,
            cut,
            feedback: None,
            told_feedback: None,
            told: None,
            dropped: drop.map(|_| sizes.iter().map(|&n| Mask::empty(n)).collect()),
            forgotten: None,
            is_pending: false,
            prepared: None,
            since: is_followed.then(|| sizes.iter().map(|&n| vec![history::KEPT; n]).collect()),
            probes: Vec::new(),
            n_kept: sizes.iter().map(|&n| n as u64).collect(),
            n_live: sizes.iter().map(|&n| n as u64).sum(),
            choices,
        };
        pruner.check_target()?;
        Ok(pruner)
    }

    /// Gates for the forward pass of `step`, from the current weights.
    ///
    /// Masks are refreshed if the cadence says so or the schedule has just reached its target, and held otherwise; the
    /// schedule sees what a refresh changed. At sparsity 0 there are no gates: no operator at all.
    ///
    /// The step last begun may be begun again; it is then no second observation for the schedule.
    ///
    /// # Errors
    /// [`PruneError::Step`] if a later step was begun before; the pruner is then as it was. Others if the sparsity cannot be
    /// met or a weight cannot be read.
    pub fn begin_step(&mut self, step: Step) -> Result<Gates, PruneError> {
        if step < self.step {
            return Err(PruneError::Step { step: step.0, last: self.step.0 });
        }
        self.check_prepared(step)?;
        let is_repeated = self.has_begun && step == self.step;
        (self.step, self.has_begun) = (step, true);
        if !is_repeated {
            self.feedback = None;
            self.told_feedback = None;
            self.forgotten = None;
        }
        self.hold_zeros()?;
        let wanted = self.choices.schedule.sparsity(step);
        let moment = Moment { step, imposed: self.sparsity, wanted, target: self.target() };
        if self.choices.renewal.chooses(&moment) {
            self.sparsity = wanted;
            let begins_by = self.choices.renewal.begins_by().filter(|_| moment.imposed.is_dense());
            let criterion = begins_by.unwrap_or(&*self.choices.criterion);
            self.is_pending = criterion.needs_gradient() && !wanted.is_dense();
            if !self.is_pending {
                let cut = self.chosen(wanted, criterion)?;
                let before = std::mem::replace(&mut self.cut, cut);
                if !is_repeated {
                    let seen = self.changed_since(before.iter().map(|cut| &*cut.mask));
                    self.tell(&seen);
                    self.feedback = Some(seen);
                }
                self.follow(&before);
                self.zero_pruned(&before)?;
                if self.choices.renewal.restarts(&moment) {
                    self.forget(before.iter().map(|cut| Mask::full(cut.mask.len())).collect());
                }
                self.drop_more()?;
            }
        }
        if !is_repeated {
            self.probe()?;
        }
        let (updates, times) = self.updates()?;
        self.n_live = updates.iter().zip(self.vars()).map(|(u, var)| u.n_live(var)).sum();
        let gates = self.gates(&self.cut, updates, times);
        self.n_kept = self.n_kept(&gates)?;
        Ok(gates)
    }

    /// Keeps the record of when weights were pruned, and of those that a probe has seen.
    pub(crate) fn follow(&mut self, before: &[LayerCut]) {
        for ((since, cut), before) in self.since.iter_mut().flatten().zip(&self.cut).zip(before) {
            history::note(since, &before.mask, &cut.mask, self.step);
        }
        for probe in self.probes.iter_mut().filter(|probe| probe.step < self.step) {
            probe.note(self.cut.iter().map(|cut| &*cut.mask));
        }
    }

    /// Looks at what is pruned, if this is a step to do so.
    fn probe(&mut self) -> Result<(), PruneError> {
        let (true, Some(since)) = (self.choices.probes.contains(&self.step), &self.since) else {
            return Ok(());
        };
        let tensors: Vec<&Tensor> = self.vars().map(|var| var.as_tensor()).collect();
        let codes = with_values(&tensors, |weights| {
            let layers = weights.iter().zip(&self.cut).zip(since);
            layers
                .map(|((weights, cut), since)| {
                    Probe::codes(weights, cut.at, &cut.mask, since, self.step)
                })
                .collect()
        })?;
        let back = self.cut.iter().map(|cut| Mask::empty(cut.mask.len())).collect();
        self.probes.push(Probe { step: self.step, codes, back });
        Ok(())
    }

    /// What has become by now of the weights that were pruned at the steps of
    /// [`probe_at`](PrunerBuilder::probe_at); the present masks are those of [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn fates(&self) -> Result<Vec<Fate>, PruneError> {
        let cut = self.refreshed()?;
        let fates = self.probes.iter().flat_map(|probe| {
            // What is kept now has come back, too.
            let mut probe = probe.clone();
            probe.note(cut.iter().map(|cut| &*cut.mask));
            probe.counts(cut.iter().map(|cut| &*cut.mask))
        });
        Ok(fates.collect())
    }

    /// Weights that get a gradient in the step last begun.
    pub fn n_live(&self) -> u64 {
        self.n_live
    }

    /// What becomes of dead filters.
    pub fn dead_filter_choice(&self) -> DeadFilters {
        self.choices.dead_filters
    }

    /// The dead filters of each layer in the step last begun: output channels of convolutions that have lost every
    /// weight.
    pub fn dead_filters(&self) -> Vec<Vec<usize>> {
        let layers = self.choices.layers.iter().zip(&self.cut);
        layers.map(|((info, _), cut)| dead_filters(info, &cut.mask)).collect()
    }

    /// Gates from the current weights at the sparsity of the last step begun: for evaluation, after the
    /// optimizer has moved the weights. Changes nothing in the pruner, and is no feedback for the schedule; dropped weights
    /// that an optimizer has moved are put back to 0.
    ///
    /// Cuts and masks are those that a step would begin with now. With the hard operator and another cadence than every
    /// step, the masks are held instead, so that what is evaluated is the very network that was trained.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn refresh(&self) -> Result<Gates, PruneError> {
        Ok(self.refresh_counted()?.0)
    }

    /// Counts of the last step begun.
    pub fn report(&self) -> Report {
        self.report_of(&self.cut, &self.n_kept)
    }

    /// The gates of [`refresh`](Self::refresh), and the counts of what they keep.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn refresh_counted(&self) -> Result<(Gates, Report), PruneError> {
        let cut = self.refreshed()?;
        let updates = vec![Update::default(); cut.len()];
        let gates = self.gates(&cut, updates, 1.0);
        let n_kept = self.n_kept(&gates)?;
        Ok((gates, self.report_of(&cut, &n_kept)))
    }

    /// What the last refresh in [`begin_step`](Self::begin_step) changed; `None` if masks were held.
    pub fn feedback(&self) -> Option<&MaskFeedback> {
        self.feedback.as_ref()
    }

    /// What the schedule was told in the last step begun: the change over its window, if that was over.
    pub fn told_feedback(&self) -> Option<&MaskFeedback> {
        self.told_feedback.as_ref()
    }

    /// The sparsity that the schedule asked for in the last step begun.
    pub fn sparsity(&self) -> Sparsity {
        self.sparsity
    }

    /// What the clock of an adaptive schedule showed in the last step begun, in steps of the plain ramp.
    pub fn clock(&self) -> Option<f64> {
        self.choices.schedule.clock(self.step)
    }

    /// The instability that an adaptive schedule goes by, once it has heard of a change.
    pub fn instability(&self) -> Option<f64> {
        self.choices.schedule.instability()
    }

    /// The sparsity at the end of the schedule.
    pub fn target(&self) -> Sparsity {
        self.choices.schedule.target()
    }

    /// The factors on the gradient of pruned weights in the last step begun; where a policy has others for each layer,
    /// those for a layer as sparse as the network.
    pub fn pruned_grad(&self) -> PrunedGrad {
        self.pruned_grad_at(self.sparsity)
    }

    pub(crate) fn pruned_grad_at(&self, achieved: Sparsity) -> PrunedGrad {
        let progress = match self.choices.total_steps {
            0 => 1.0,
            total => (self.step.0 as f64 / total as f64).min(1.0),
        };
        self.choices.remainder.gradient.at(&Now { achieved, target: self.target(), progress })
    }

    /// The largest cut among the layers, 0 while dense: the one cut there is if layers are ranked together.
    pub fn cut(&self) -> f32 {
        self.cut.iter().fold(0.0, |max, cut| cut.at.max(max))
    }

    /// The prunable layers.
    pub fn layers(&self) -> impl Iterator<Item = &LayerInfo> {
        self.choices.layers.iter().map(|(info, _)| info)
    }

    /// Writes the pruned weights into the variables, and returns how many zeros they hold. The weights are
    /// those of a fresh [`refresh`](Self::refresh); at sparsity 0 nothing is written.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step), or if a variable cannot be written.
    pub fn bake(self) -> Result<u64, PruneError> {
        let gates = self.refresh()?;
        let mut n_zeros = 0;
        for (i, var) in self.vars().enumerate() {
            if let Some(gate) = gates.get(LayerId(i)) {
                var.set(&threshold(var, gate)?)?;
            }
            n_zeros += var.elem_count() as u64 - n_kept(var, None)?;
        }
        Ok(n_zeros)
    }

    pub(crate) fn vars(&self) -> impl Iterator<Item = &Var> {
        self.choices.layers.iter().map(|(_, var)| var)
    }

    /// Tells the schedule what it listens to.
    fn tell(&mut self, seen: &MaskFeedback) {
        let window = self.choices.schedule.window();
        // What pruning begins with is no change.
        if window <= 1 {
            if seen.n_before < seen.n_weights {
                self.choices.schedule.observe(seen);
                self.told_feedback = Some(*seen);
            }
            return;
        }
        let over_window = match &self.told {
            Some((step, _)) if self.step.0 < step.0 + window => return,
            Some((_, masks)) => Some(self.changed_since(masks.iter().map(|mask| &**mask))),
            None if self.sparsity.is_dense() => return,
            None => None,
        };
        if let Some(seen) = over_window {
            self.choices.schedule.observe(&seen);
            self.told_feedback = Some(seen);
        }
        self.told = Some((self.step, self.cut.iter().map(|cut| cut.mask.clone()).collect()));
    }

    /// How the masks differ from these, layer by layer.
    pub(crate) fn changed_since<'a>(&self, before: impl Iterator<Item = &'a Mask>) -> MaskFeedback {
        let mut seen = MaskFeedback {
            step: self.step,
            n_weights: 0,
            n_before: 0,
            n_kept: 0,
            n_entered: 0,
            n_left: 0,
        };
        for (cut, before) in self.cut.iter().zip(before) {
            let change = cut.mask.change_since(before);
            seen.n_weights += cut.mask.len() as u64;
            seen.n_before += before.n_kept();
            seen.n_kept += cut.mask.n_kept();
            seen.n_entered += change.n_entered;
            seen.n_left += change.n_left;
        }
        seen
    }

    fn report_of(&self, cut: &[LayerCut], n_kept: &[u64]) -> Report {
        let layer = |(i, ((info, _), cut)): (usize, (&(LayerInfo, Var), &LayerCut))| LayerReport {
            info: info.clone(),
            n_kept: n_kept[i],
            n_dropped: self.dropped.as_ref().map_or(0, |dropped| dropped[i].n_kept()),
            n_filters: Filters::of(info).n() as u64,
            n_dead_filters: dead_filters(info, &cut.mask).len() as u64,
        };
        Report { layers: self.choices.layers.iter().zip(cut).enumerate().map(layer).collect() }
    }
}
