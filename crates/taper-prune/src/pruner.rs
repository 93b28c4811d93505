//! The pruner. A step has three stages: masks and gates before the forward pass, gradients after the backward pass, and
//! learned parameters of the operator together with the optimizer update.

use crate::{
    Changed, Momentum,
    choices::Choices,
    choose::{Asked, LayerCut, scores},
    count::kept_by,
    criterion::Criterion,
    drop::{self, Candidates, DropRule},
    error::PruneError,
    gates::{Imposing, Update, with_gated, with_whole_gradients},
    grads::{add_decay, change, of_layers},
    history::History,
    masked_write::{set_where, zero_where},
    measure::GradientOracle,
    memory::Memory,
    operator::{Gated, Operator},
    prepare::Prepared,
    renewal::{Entering, Moment},
    swap::{Counts, swapped},
};
use candle_core::backprop::GradStore;
use std::sync::Arc;
use taper_core::{LayerId, MaskFeedback, Sparsity, Step};
use taper_kernels::mask::Mask;
use taper_nn::{
    Gates,
    ops::{tensor_like, threshold_grad, with_values},
};

/// Prunes the weights of a network step by step; see the [crate].
#[derive(Debug)]
pub struct Pruner {
    pub(crate) choices: Choices,
    /// The current step: the last one that was begun; 0 before the first.
    pub(crate) step: Step,
    /// Whether a step was begun.
    pub(crate) has_begun: bool,
    /// Whether the initial weights of the operator have been set.
    pub(crate) has_initial: bool,
    pub(crate) sparsity: Sparsity,
    pub(crate) cut: Vec<LayerCut>,
    pub(crate) feedback: Option<MaskFeedback>,
    /// The mask change that the schedule observed in the current step.
    pub(crate) told_feedback: Option<MaskFeedback>,
    /// The step and the masks of the schedule's last observation, if its window is longer than one step.
    pub(crate) told: Option<(Step, Vec<Arc<Mask>>)>,
    /// The permanently pruned weights of each layer, if there is a drop policy.
    pub(crate) dropped: Option<Vec<Mask>>,
    /// Weights for which the optimizer must reset its state in the current step.
    pub(crate) forgotten: Option<Vec<Mask>>,
    /// The initial values of the run, if regrown weights start with one of them.
    pub(crate) initial: Option<Vec<Vec<f32>>>,
    /// The number of weights that each layer keeps between prune-and-regrow updates, if its mask may have another one:
    /// more under a soft bound, or fewer with units that do not fit.
    pub(crate) budget: Option<Vec<u64>>,
    /// Input of the mask update rule, if the gradients of the current step choose its masks, and whether the step was
    /// begun again after they did.
    pending: Option<(Moment, bool)>,
    /// Measured masks for the next step, or for the current one.
    prepared: Option<Prepared>,
    pub(crate) history: History,
    pub(crate) memory: Memory,
    /// The gates that scale full gradients for the optimizer, in a step that computes them for a criterion that
    /// remembers gradients.
    learning: Option<Gates>,
    /// Number of weights of each layer that are not 0 after pruning, in the current step.
    pub(crate) n_kept: Vec<u64>,
    /// The live set of each layer in the current step: weights that receive a gradient; `None` for all.
    pub(crate) live: Vec<Option<Arc<Mask>>>,
}

impl Pruner {
    /// A pruner before its first step.
    pub(crate) fn new(choices: Choices) -> Self {
        let sizes: Vec<usize> = choices.vars().map(|var| var.elem_count()).collect();
        let full = |&n: &usize| LayerCut { at: 0.0, mask: Arc::new(Mask::full(n)) };
        let drop = choices.remainder.drop;
        let is_followed =
            !choices.probes.is_empty() || drop.is_some_and(|d| d.rule == DropRule::Longest);
        Self {
            step: Step::ZERO,
            has_begun: false,
            has_initial: false,
            sparsity: Sparsity::DENSE,
            cut: sizes.iter().map(full).collect(),
            feedback: None,
            told_feedback: None,
            told: None,
            dropped: drop.map(|_| sizes.iter().map(|&n| Mask::empty(n)).collect()),
            forgotten: None,
            initial: None,
            budget: None,
            pending: None,
            prepared: None,
            memory: Memory::new(&choices),
            learning: None,
            history: History::new(sizes.iter().copied(), is_followed),
            n_kept: sizes.iter().map(|&n| n as u64).collect(),
            live: vec![None; sizes.len()],
            choices,
        }
    }

    // Stage 1: before the forward pass.

    /// Measures the network and chooses the masks of `step`, if the step chooses masks by a criterion that
    /// [measures](Criterion::measure) the network, such as GraSP or SynFlow. In other steps it does nothing. A training
    /// loop with such a criterion calls it before each [`begin_step`](Self::begin_step).
    ///
    /// It sets weights that stay at 0 back to 0 if an optimizer has moved them, and changes no others. The measurement is used in this one step; masks are held afterwards. A run that resumes
    /// after this step measures nothing.
    ///
    /// ```
    /// use candle_core::{DType, Device, Result, Tensor, Var};
    /// use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
    /// use taper_kernels::threshold::Threshold;
    /// use taper_prune::{GradientOracle, Pruner, Remainder, criterion::SynFlow, renewal::Hold};
    /// use taper_schedule::{Curve, Ramp};
    ///
    /// /// One linear layer of four inputs.
    /// struct Network;
    ///
    /// impl GradientOracle for Network {
    ///     fn flow(&mut self, weights: &[Tensor]) -> Result<Vec<Tensor>> {
    ///         let weight = Var::from_tensor(&weights[0])?;
    ///         let ones = Tensor::ones((1, 4), DType::F64, &Device::Cpu)?;
    ///         let grads = ones.matmul(&weight.t()?)?.sum_all()?.backward()?;
    ///         Ok(grads.get(&weight).cloned().into_iter().collect())
    ///     }
    /// }
    ///
    /// let weight = Var::new(&[[0.1f32, -0.9, 0.5, 0.2]], &Device::Cpu)?;
    /// let info = LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![1, 4] };
    /// let once = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::new(0.5)?);
    /// let mut pruner = Pruner::builder([(info, weight)], once, 100)
    ///     .operator(Threshold::Hard)
    ///     .criterion(SynFlow { rounds: 2 })
    ///     .renewal(Hold)
    ///     .remainder(Remainder::zero())
    ///     .build()?;
    /// for step in 0..3 {
    ///     pruner.prepare(Step(step), &mut Network)?; // measures only before step 0
    ///     pruner.begin_step(Step(step))?; // …
    /// }
    /// assert_eq!(pruner.report().n_kept(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PruneError::Step`] if a later step was begun before; [`PruneError::Preparation`] if the derivatives of the
    /// network do not fit its layers or give no order; the error of the [`GradientOracle`], such as a derivative that it
    /// does not implement.
    pub fn prepare(
        &mut self,
        step: Step,
        network: &mut dyn GradientOracle,
    ) -> Result<(), PruneError> {
        if step < self.step {
            return Err(PruneError::Step { step: step.0, last: self.step.0 });
        }
        let now = self.moment(step);
        let Some(criterion) = self.measuring(&now) else { return Ok(()) };
        let Some(measure) = criterion.measure() else { return Ok(()) };
        self.hold_zeros()?;
        let asked = Asked { step, sparsity: now.wanted, ..self.asked(criterion, None) };
        self.prepared = Some(Prepared::of(&self.choices, &asked, measure, network)?);
        Ok(())
    }

    /// Computes the gates for the forward pass of `step` from the current weights.
    ///
    /// Masks are updated if the cadence requires it or the schedule has just reached its target, and held otherwise.
    /// The schedule observes how an update changed the masks. At sparsity 0 there are no gates, unless the operator
    /// computes its own values.
    ///
    /// The first step of a new run sets the initial weights of the operator, if it has any. The current step may be
    /// begun again; the schedule does not observe it a second time.
    ///
    /// # Errors
    /// [`PruneError::Step`] if a later step was begun before; [`PruneError::Preparation`] if the step needs
    /// [`prepare`](Self::prepare) and it was not called. The pruner is then unchanged. Other errors if the sparsity
    /// cannot be met or a weight cannot be read.
    pub fn begin_step(&mut self, step: Step) -> Result<Gates, PruneError> {
        if step < self.step {
            return Err(PruneError::Step { step: step.0, last: self.step.0 });
        }
        self.check_prepared(&self.moment(step))?;
        self.initialise()?;
        let is_repeated = self.has_begun && step == self.step;
        (self.step, self.has_begun) = (step, true);
        if !is_repeated {
            self.feedback = None;
            self.told_feedback = None;
            self.forgotten = None;
        }
        self.hold_zeros()?;
        let now = self.moment(step);
        if self.chooses(&now) {
            self.sparsity = now.wanted;
            self.refresh_masks(&now, is_repeated)?;
        } else if !self.choices.operator.is_frozen() {
            // The fraction of dropped weights can rise while masks are held.
            self.drop_more()?;
        }
        if !is_repeated && self.choices.probes.contains(&step) {
            with_values(&self.choices.tensors(), |weights| {
                self.history.probe(weights, &self.cut, step);
            })?;
        }
        self.tell_operator()?;
        let imposing = self.imposing();
        let (updates, times) = imposing.updates(self.dropped.as_deref())?;
        let live = updates.iter().map(|update| update.live.clone()).collect();
        let gates = imposing.gates(updates, times)?;
        self.live = live;
        self.n_kept = kept_by(self.choices.vars(), &gates)?;
        // If gradients choose masks, the optimizer skips the step.
        let is_learning = self.is_remembering() && !self.reads_gradients();
        self.learning = is_learning.then(|| gates.clone());
        Ok(match self.is_remembering() {
            true => with_whole_gradients(&gates, self.choices.layers.len()),
            false => gates,
        })
    }

    /// Sets the initial weights of the operator in a new run.
    fn initialise(&mut self) -> Result<(), PruneError> {
        if self.has_initial {
            return Ok(());
        }
        for var in self.choices.vars() {
            let weight = var.as_tensor();
            let initial = with_values(&[weight], |w| self.choices.operator.initial(w[0]))?;
            if let Some(initial) = initial {
                var.set(&tensor_like(initial, weight)?)?;
            }
        }
        if self.choices.remembers_initial() {
            let all =
                with_values(&self.choices.tensors(), |w| w.iter().map(|w| w.to_vec()).collect());
            self.initial = Some(all?);
        }
        self.has_initial = true;
        Ok(())
    }

    /// Forgets what an unfinished step has left for its backward pass and for the optimizer.
    pub(crate) fn leave_step(&mut self) {
        (self.pending, self.prepared) = (None, None);
        (self.learning, self.forgotten) = (None, None);
        (self.feedback, self.told_feedback) = (None, None);
    }

    /// Chooses new masks, or leaves that to the gradients of this step.
    fn refresh_masks(&mut self, now: &Moment, is_repeated: bool) -> Result<(), PruneError> {
        let criterion = self.choices.chooser(now);
        if criterion.needs_gradient() && !now.wanted.is_dense() {
            // A step that is begun again has set its sparsity already.
            let first = self.pending.filter(|(first, _)| first.step == now.step);
            self.pending = Some(first.unwrap_or((*now, is_repeated)));
            return Ok(());
        }
        self.pending = None;
        let cut = match self.prepared.as_ref().and_then(|p| p.at(now.step, now.wanted)) {
            Some(prepared) => prepared.to_vec(),
            None => self.choices.choose(&self.asked(criterion, self.known(criterion, None)))?,
        };
        self.renew(cut, now, is_repeated)
    }

    /// Sets the masks that the mask update rule has chosen. The schedule observes the change, except in a step that is
    /// begun again.
    fn renew(
        &mut self,
        cut: Vec<LayerCut>,
        now: &Moment,
        is_repeated: bool,
    ) -> Result<(), PruneError> {
        let before = std::mem::replace(&mut self.cut, cut);
        self.budget = None;
        if !is_repeated {
            let seen = self.changed_since(before.iter().map(|cut| &*cut.mask));
            self.tell(&seen);
            self.feedback = Some(seen);
        }
        self.history.note(&before, &self.cut, self.step);
        self.zero_pruned(&before)?;
        self.scale_initial(&before)?;
        if self.choices.renewal.restarts(now) {
            self.forget(before.iter().map(|cut| Mask::full(cut.mask.len())).collect());
        }
        self.drop_more()
    }

    /// Whether masks are chosen at the start of a step.
    fn chooses(&self, now: &Moment) -> bool {
        let operator = &self.choices.operator;
        // Gradients would change the masks of this step after they are final.
        let is_late = operator.frozen_from().is_some_and(|from| from <= now.step)
            && self.choices.chooser(now).needs_gradient();
        self.choices.renewal.chooses(now) && !operator.is_frozen() && !is_late
    }

    /// The criterion that measures the network before a step, if there is one.
    fn measuring(&self, now: &Moment) -> Option<&dyn Criterion> {
        let is_asked = !now.wanted.is_dense() && self.chooses(now);
        Some(self.choices.chooser(now)).filter(|by| is_asked && by.measure().is_some())
    }

    /// Rejects a step that needs a measurement without one.
    fn check_prepared(&self, now: &Moment) -> Result<(), PruneError> {
        let Some(criterion) = self.measuring(now) else { return Ok(()) };
        if self.prepared.as_ref().is_some_and(|p| p.at(now.step, now.wanted).is_some()) {
            return Ok(());
        }
        let reason = format!(
            "step {} chooses masks by {criterion:?}, which measures the network; call Pruner::prepare before the step",
            now.step
        );
        Err(PruneError::Preparation { reason })
    }

    /// Passes the layers of the step to an operator that computes its own values.
    fn tell_operator(&mut self) -> Result<(), PruneError> {
        if self.choices.operator.threshold().is_some() {
            return Ok(());
        }
        self.with_operator(|operator, layers| operator.begin_step(layers))
    }

    /// Passes a mask change to the schedule, over its window.
    fn tell(&mut self, seen: &MaskFeedback) {
        let window = self.choices.schedule.window();
        // The first masks that prune are not a change.
        if window <= 1 {
            if seen.n_before < seen.n_weights {
                self.choices.schedule.observe(seen);
                self.told_feedback = Some(*seen);
            }
            return;
        }
        let over_window = match &self.told {
            Some((step, _)) if self.step.0 < step.0.saturating_add(window) => return,
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

    /// Drops further weights until the number that the policy requires is reached.
    fn drop_more(&mut self) -> Result<(), PruneError> {
        let (Some(policy), Some(dropped)) = (self.choices.remainder.drop, &self.dropped) else {
            return Ok(());
        };
        let n_pruned: u64 =
            self.cut.iter().map(|cut| cut.mask.len() as u64 - cut.mask.n_kept()).sum();
        let wanted = (policy.share_at(self.step, self.sparsity) * n_pruned as f64).floor() as u64;
        let n_dropped = dropped.iter().map(Mask::n_kept).sum();
        if wanted <= n_dropped {
            return Ok(());
        }
        let new = with_values(&self.choices.tensors(), |weights| {
            let layers: Vec<Candidates> = (0..weights.len())
                .map(|i| Candidates {
                    weights: weights[i],
                    cut: self.cut[i].at,
                    kept: &self.cut[i].mask,
                    dropped: &dropped[i],
                    since: self.history.since.as_ref().map(|since| &since[i][..]),
                })
                .collect();
            drop::first_dropped(policy.rule, &layers, (wanted - n_dropped) as usize)
        })?;
        for (new, var) in new.iter().zip(self.choices.vars()) {
            zero_where(new, var)?;
        }
        for (dropped, new) in self.dropped.iter_mut().flatten().zip(&new) {
            *dropped = dropped.union(new);
        }
        self.forget(new);
        Ok(())
    }

    // Stage 2: after the backward pass.

    /// Completes the step after the backward pass. If due, it chooses masks by gradients, or runs prune-and-regrow. It
    /// then applies the derivative of the operator to the gradients, and adds the weight decay and penalty of the
    /// [`Remainder`](crate::Remainder). It returns what the optimizer must do.
    ///
    /// `grads` must be the gradients of the loss with respect to the dense weights, as the backward pass of a model
    /// with the gates of [`begin_step`](Self::begin_step) computes them. A layer without a gradient does not contribute
    /// to the loss.
    ///
    /// # Errors
    /// [`PruneError::Candle`] if a gradient cannot be read or written.
    pub fn after_backward(&mut self, grads: &mut GradStore) -> Result<Changed, PruneError> {
        let is_skipped = self.reads_gradients();
        let mut momentum = None;
        self.remember(grads)?;
        if let Some((now, is_repeated)) = self.pending.take() {
            let gradients = of_layers(self.choices.vars(), grads)?;
            let criterion = self.choices.chooser(&now);
            let asked = self.asked(criterion, Some(&gradients));
            let cut = self.choices.choose(&asked)?;
            self.renew(cut, &now, is_repeated)?;
        } else if let Some(share) = self.swap_share() {
            momentum = self.swap(share, grads)?;
        }
        if self.choices.operator.has_backward() && !is_skipped {
            let mut gradients = of_layers(self.choices.vars(), grads)?;
            self.with_operator(|operator, layers| operator.backward(layers, &mut gradients))?;
            for (var, gradient) in self.choices.vars().zip(gradients) {
                change(grads, var, |grad| grad.copy_from_slice(&gradient))?;
            }
        }
        if self.choices.remainder.decay > 0.0 {
            self.decay(grads)?;
        }
        if self.choices.remainder.penalty > 0.0 {
            self.penalise(grads)?;
        }
        Ok(Changed { forgotten: self.forgotten.clone(), momentum, is_skipped })
    }

    /// The weights of each layer for which the optimizer must reset its state, so far in the current step.
    /// [`after_backward`](Self::after_backward) returns the final ones.
    pub fn forgotten(&self) -> Option<&[Mask]> {
        self.forgotten.as_deref()
    }

    /// Whether the gradients of this step choose masks; the gradient of pruned weights is then computed in full.
    fn reads_gradients(&self) -> bool {
        let grows_by_gradient =
            || self.choices.renewal.grows_by().is_some_and(Criterion::needs_gradient);
        let begins_by_gradient =
            || self.choices.renewal.grow_init().is_some_and(|init| init.needs_gradient());
        let reads = || {
            self.choices.criterion.needs_gradient() || grows_by_gradient() || begins_by_gradient()
        };
        self.pending.is_some() || self.swap_share().is_some() && reads()
    }

    /// Whether this step adds to the values that criteria accumulate.
    fn is_remembering(&self) -> bool {
        !self.memory.is_none() && !self.choices.operator.is_frozen()
    }

    /// Adds the gradients of this step to the values that criteria accumulate, and scales them for the optimizer.
    fn remember(&mut self, grads: &mut GradStore) -> Result<(), PruneError> {
        if !self.is_remembering() {
            return Ok(());
        }
        let gradients = of_layers(self.choices.vars(), grads)?;
        self.memory.add(&self.choices, &gradients, self.step)?;
        for (i, var) in self.choices.vars().enumerate() {
            let gate = self.learning.as_ref().and_then(|gates| gates.get(LayerId(i)));
            if let (Some(gate), Some(grad)) = (gate, grads.get(var)) {
                let scaled = threshold_grad(var, gate, grad)?;
                grads.insert(var, scaled);
            }
        }
        Ok(())
    }

    /// The input of a criterion that chooses masks (not of the growth criterion): its accumulated values, or these
    /// gradients.
    fn known<'a>(
        &'a self,
        criterion: &dyn Criterion,
        gradients: Option<&'a [Vec<f32>]>,
    ) -> Option<&'a [Vec<f32>]> {
        match criterion.remembers() {
            true => self.memory.of_criterion(gradients),
            false => gradients,
        }
    }

    /// The prune-and-regrow fraction of this step, once masks prune.
    fn swap_share(&self) -> Option<f64> {
        let is_pruning = !self.sparsity.is_dense() && !self.choices.operator.is_frozen();
        self.choices.renewal.swaps(self.step).filter(|_| is_pruning)
    }

    /// Prunes and regrows this fraction of each layer's kept weights, and returns the initial momentum of regrown
    /// weights.
    fn swap(
        &mut self,
        share: f64,
        grads: &mut GradStore,
    ) -> Result<Option<Vec<Momentum>>, PruneError> {
        let gradients = of_layers(self.choices.vars(), grads)?;
        let renewal = &self.choices.renewal;
        let is_soft = renewal.exceeds_until().is_some();
        let init = renewal.grow_init();
        let n_kept = || self.cut.iter().map(|cut| cut.mask.n_kept()).collect();
        let budget: Vec<u64> = self.budget.clone().unwrap_or_else(n_kept);
        let swaps = with_values(&self.choices.tensors(), |weights| {
            let layers = weights.iter().zip(&self.cut).enumerate();
            let swaps = layers.map(|(i, (&weights, LayerCut { mask: kept, .. }))| {
                let view = |gradients| self.choices.view(LayerId(i), weights, gradients, self.step);
                let leaving = view(self.memory.of_criterion(Some(&gradients)));
                let entering = view(self.memory.of_growth(Some(&gradients)));
                let open = match &self.dropped {
                    Some(dropped) => dropped[i].complement(),
                    None => Mask::full(weights.len()),
                };
                let counts = match is_soft {
                    true => Counts::exceeding(share, budget[i], kept.n_kept(), open.n_kept()),
                    false => Counts::replacing(share, budget[i], kept.n_kept(), open.n_kept()),
                };
                let leave = || scores(&*self.choices.criterion, &leaving);
                let enter = renewal.grows_by().map(|grow| || scores(grow, &entering));
                let info = leaving.info;
                let structure = &*self.choices.structure;
                let swapped = swapped(info, kept, &open, counts, leave, enter, structure)?;
                let initial = self.initial.as_ref().map(|initial| &initial[i][..]);
                let (gradient, entering) = (&gradients[i][..], &swapped.anew);
                let (id, step) = (leaving.id, self.step);
                let layer = Entering { id, step, weights, kept, gradient, initial, entering };
                let begun = init.map(|init| (init.values(&layer), init.momenta(&layer)));
                Ok((swapped, begun))
            });
            swaps.collect::<Result<Vec<_>, PruneError>>()
        })??;
        let cut = self.cut.iter().zip(&swaps);
        let cut = cut.map(|(cut, (swapped, _))| LayerCut {
            at: cut.at,
            mask: Arc::new(swapped.mask.clone()),
        });
        self.replace(cut.collect())?;
        let has_units = !self.choices.structure.is_single();
        self.budget = (is_soft && share > 0.0 || !is_soft && has_units).then_some(budget);
        let mut momenta = Vec::new();
        if init.is_some() {
            self.forget(swaps.iter().map(|(swapped, _)| swapped.anew.clone()).collect());
        }
        for ((swapped, begun), var) in swaps.into_iter().zip(self.choices.vars()) {
            let Some((values, momentum)) = begun else { continue };
            set_where(&swapped.anew, &values, var)?;
            let momentum = momentum.map(|values| Momentum { weights: swapped.anew, values });
            momenta.extend(momentum);
        }
        // The gradient of this step would still move the weights that were just pruned.
        for (left, var) in self.forgotten.iter().flatten().zip(self.choices.vars()) {
            if left.n_kept() > 0 {
                change(grads, var, |grad| left.kept().for_each(|index| grad[index] = 0.0))?;
            }
        }
        Ok((!momenta.is_empty()).then_some(momenta))
    }

    /// Sets new masks in the middle of a step. Newly pruned weights become 0 if pruned weights are 0.
    fn replace(&mut self, cut: Vec<LayerCut>) -> Result<(), PruneError> {
        let before = std::mem::replace(&mut self.cut, cut);
        self.feedback = Some(self.changed_since(before.iter().map(|cut| &*cut.mask)));
        self.history.note(&before, &self.cut, self.step);
        self.zero_pruned(&before)?;
        self.scale_initial(&before)
    }

    /// Scales initial weights for the first masks; `before` has the masks before them.
    fn scale_initial(&self, before: &[LayerCut]) -> Result<(), PruneError> {
        let is_full = |cut: &LayerCut| cut.mask.n_kept() == cut.mask.len() as u64;
        if self.step > Step::ZERO || !before.iter().all(is_full) {
            return Ok(());
        }
        for ((info, var), cut) in self.choices.layers.iter().zip(&self.cut) {
            self.choices.initial_scale.apply(info, &cut.mask, var)?;
        }
        Ok(())
    }

    /// Adds the weight decay of pruned weights to their gradient.
    fn decay(&self, grads: &mut GradStore) -> Result<(), PruneError> {
        let lambda = self.choices.remainder.decay;
        for (cut, var) in self.cut.iter().zip(self.choices.vars()) {
            add_decay(grads, var, &[(&cut.mask.complement(), lambda)])?;
        }
        Ok(())
    }

    /// Adds `λ·w` to the gradient of kept weights, and `λ/D·w` to that of live pruned weights, with D the density.
    fn penalise(&self, grads: &mut GradStore) -> Result<(), PruneError> {
        let lambda = self.choices.remainder.penalty;
        let density = (1.0 - self.sparsity.get()).max(f64::MIN_POSITIVE);
        let of_pruned = (f64::from(lambda) / density) as f32;
        for ((var, cut), live) in self.choices.vars().zip(&self.cut).zip(&self.live) {
            let kept = &*cut.mask;
            let learning = match live {
                Some(live) => live.difference(kept),
                None => kept.complement(),
            };
            add_decay(grads, var, &[(kept, lambda), (&learning, of_pruned)])?;
        }
        Ok(())
    }

    // Stage 3: with the optimizer update.

    /// Updates the learned parameters of the operator, such as thresholds, with the gradients of the step. Call it
    /// together with the optimizer update. `factor` is the factor of gradient clipping, 1 without clipping; `lr` is the
    /// learning rate.
    pub fn learn(&mut self, factor: f64, lr: f64) {
        self.choices.operator.learn(factor, lr);
    }

    // Shared by the stages.

    /// Gates from the current weights at the sparsity of the current step: for evaluation, after the optimizer has
    /// updated the weights. It does not change the state of the pruner, and the schedule does not observe it. If new masks
    /// are chosen, weights that stay at 0 (permanently pruned ones, or all with [`Remainder::zero`](crate::Remainder::zero))
    /// and that an optimizer has moved are set back to 0 first; held masks hide them.
    ///
    /// Thresholds and masks are those that a step would begin with now. If masks are held between updates and nothing
    /// shrinks by the threshold, they are held here as well: the evaluated network is exactly the trained one.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn refresh(&self) -> Result<Gates, PruneError> {
        Ok(self.refreshed()?.1)
    }

    /// The thresholds and gates of [`refresh`](Self::refresh).
    pub(crate) fn refreshed(&self) -> Result<(Vec<LayerCut>, Gates), PruneError> {
        // With a held threshold, a shrinking operator would turn kept weights below it into zeros that no count
        // contains.
        let operator = &self.choices.operator;
        let is_held = self.choices.renewal.holds() && !operator.needs_cut();
        let cut = match is_held || operator.is_frozen() {
            true => self.cut.clone(),
            false => {
                self.hold_zeros()?;
                let criterion = &*self.choices.criterion;
                self.choices.choose(&self.asked(criterion, self.known(criterion, None)))?
            }
        };
        let imposing = Imposing { cut: &cut, ..self.imposing() };
        let gates = imposing.gates(vec![Update::default(); cut.len()], 1.0)?;
        Ok((cut, gates))
    }

    /// Input of the mask update rule in a step.
    fn moment(&self, step: Step) -> Moment {
        let (imposed, wanted) = (self.sparsity, self.choices.schedule.sparsity(step));
        Moment { step, imposed, wanted, target: self.choices.target() }
    }

    fn asked<'a>(
        &'a self,
        criterion: &'a dyn Criterion,
        gradients: Option<&'a [Vec<f32>]>,
    ) -> Asked<'a> {
        let (step, sparsity) = (self.step, self.sparsity);
        let (dropped, before) = (self.dropped.as_deref(), &self.cut[..]);
        Asked { step, sparsity, criterion, gradients, dropped, before }
    }

    fn imposing(&self) -> Imposing<'_> {
        let reads_gradients = self.reads_gradients();
        let (choices, cut) = (&self.choices, &self.cut[..]);
        Imposing { choices, step: self.step, sparsity: self.sparsity, cut, reads_gradients }
    }

    /// Calls the operator with the layers of the current step.
    fn with_operator(
        &mut self,
        act: impl FnOnce(&mut dyn Operator, &[Gated]),
    ) -> Result<(), PruneError> {
        let groups = self.choices.group_numbers(self.sparsity)?;
        let Choices { layers, operator, .. } = &mut self.choices;
        with_gated(layers, &self.cut, &groups, self.step, |layers| act(&mut **operator, layers))
    }

    /// Counts of the difference between the current masks and `before`, over all layers.
    fn changed_since<'a>(&self, before: impl Iterator<Item = &'a Mask>) -> MaskFeedback {
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

    /// If pruned weights are 0: sets newly pruned weights to 0. The optimizer resets its state for these, and for
    /// weights that enter.
    fn zero_pruned(&mut self, before: &[LayerCut]) -> Result<(), PruneError> {
        if !self.choices.remainder.is_zero {
            return Ok(());
        }
        let changed = self.cut.iter().zip(before).map(|(now, before)| {
            let left = before.mask.difference(&now.mask);
            left.union(&now.mask.difference(&before.mask))
        });
        let changed: Vec<Mask> = changed.collect();
        self.hold_zeros()?;
        if changed.iter().any(|mask| mask.n_kept() > 0) {
            self.forget(changed);
        }
        Ok(())
    }

    /// Adds weights for which the optimizer must reset its state in this step.
    fn forget(&mut self, weights: Vec<Mask>) {
        self.forgotten = Some(match self.forgotten.take() {
            Some(others) => others.iter().zip(&weights).map(|(a, b)| a.union(b)).collect(),
            None => weights,
        });
    }

    /// Sets weights that must be 0 back to 0, in case an optimizer with momentum has moved them: permanently pruned
    /// weights, and all pruned weights if these are 0.
    fn hold_zeros(&self) -> Result<(), PruneError> {
        for (dropped, var) in self.dropped.iter().flatten().zip(self.choices.vars()) {
            zero_where(dropped, var)?;
        }
        if self.choices.remainder.is_zero {
            for (cut, var) in self.cut.iter().zip(self.choices.vars()) {
                zero_where(&cut.mask.complement(), var)?;
            }
        }
        Ok(())
    }
}
