//! The pruner: schedule → allocation → cuts → masks → gates → feedback.

use crate::{
    LayerReport, PrunedUpdate, PrunerBuilder, PrunerState, Quantile, Report,
    allocation::{Group, Layer},
    error::PruneError,
};
use candle_core::{Tensor, Var};
use std::{borrow::Borrow, sync::Arc};
use taper_core::{LayerId, LayerInfo, MaskFeedback, Sparsity, Step, rng::Rng};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{Gate, Gates, PrunedGradient, ops::with_values};
use taper_scale::{Now, PrunedGrad};
use taper_schedule::{Cadence, Ramp, SparsitySchedule};

/// Prunes the weights of a network step by step; see the [crate].
#[derive(Debug)]
pub struct Pruner {
    choices: PrunerBuilder,
    step: Step,
    sparsity: Sparsity,
    cut: Vec<LayerCut>,
    feedback: Option<MaskFeedback>,
    /// The step and masks that the schedule was last told of, if it listens over more than one step.
    told: Option<(Step, Vec<Arc<Mask>>)>,
}

/// What the last refresh decided for a layer.
#[derive(Clone, Debug)]
struct LayerCut {
    at: f32,
    mask: Arc<Mask>,
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
    /// [`PruneError`] if there are no layers, or the target is 1.
    pub fn feather<V: Borrow<Var>>(
        layers: impl IntoIterator<Item = (LayerInfo, V)>,
        target: Sparsity,
        total_steps: u64,
    ) -> Result<Self, PruneError> {
        Self::builder(layers, Ramp::feather(target, total_steps), total_steps).build()
    }

    pub(crate) fn from_builder(choices: PrunerBuilder) -> Result<Self, PruneError> {
        if choices.layers.is_empty() {
            return Err(PruneError::NoLayers);
        }
        choices.update.check()?;
        let target = choices.schedule.target();
        if target.get() >= 1.0 {
            return Err(PruneError::Target { target: target.get() });
        }
        let total = choices.total_steps;
        let reached = choices.schedule.sparsity(Step(total).previous());
        if total > 0 && reached < target {
            let (reached, target) = (reached.get(), target.get());
            return Err(PruneError::NeverReached { reached, total, target });
        }
        let cut = choices
            .layers
            .iter()
            .map(|(_, var)| LayerCut { at: 0.0, mask: Arc::new(Mask::full(var.elem_count())) })
            .collect();
        let pruner = Self {
            choices,
            step: Step::ZERO,
            sparsity: Sparsity::DENSE,
            cut,
            feedback: None,
            told: None,
        };
        pruner.groups(target)?;
        Ok(pruner)
    }

    /// Gates for the forward pass of `step`, from the current weights.
    ///
    /// Masks are refreshed if the cadence says so or the schedule has just reached its target, and held otherwise; the
    /// schedule sees what a refresh changed. At sparsity 0 there are no gates: no operator at all.
    ///
    /// # Errors
    /// [`PruneError`] if the sparsity cannot be met or a weight cannot be read.
    pub fn begin_step(&mut self, step: Step) -> Result<Gates, PruneError> {
        self.step = step;
        self.feedback = None;
        let wanted = self.choices.schedule.sparsity(step);
        let is_reached = wanted == self.target() && self.sparsity != wanted;
        if is_reached || self.choices.cadence.is_due(step) {
            self.sparsity = wanted;
            let cut = self.choose(self.sparsity)?;
            let before = std::mem::replace(&mut self.cut, cut);
            let seen = self.changed_since(before.iter().map(|cut| &*cut.mask));
            self.tell(&seen);
            self.feedback = Some(seen);
        }
        let (updates, times) = self.updates()?;
        Ok(self.gates(&self.cut, updates, times))
    }

    /// Gates from the current weights at the sparsity of the last step begun: for evaluation, after the
    /// optimizer has moved the weights. Changes nothing in the pruner, and is no feedback for the schedule.
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
        self.report_of(&self.cut)
    }

    /// The gates of [`refresh`](Self::refresh), and the counts of what they keep.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn refresh_counted(&self) -> Result<(Gates, Report), PruneError> {
        let cut = self.refreshed()?;
        let updates = vec![PrunedGradient::Exact; cut.len()];
        Ok((self.gates(&cut, updates, 1.0), self.report_of(&cut)))
    }

    /// What the last refresh in [`begin_step`](Self::begin_step) changed; `None` if masks were held.
    pub fn feedback(&self) -> Option<&MaskFeedback> {
        self.feedback.as_ref()
    }

    /// The sparsity that the schedule asked for in the last step begun.
    pub fn sparsity(&self) -> Sparsity {
        self.sparsity
    }

    /// What the clock of an adaptive schedule showed in the last step begun, in steps of the plain ramp.
    pub fn clock(&self) -> Option<f64> {
        self.choices.schedule.clock(self.step)
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

    fn pruned_grad_at(&self, achieved: Sparsity) -> PrunedGrad {
        let progress = match self.choices.total_steps {
            0 => 1.0,
            total => (self.step.0 as f64 / total as f64).min(1.0),
        };
        self.choices.gradient.at(&Now { achieved, target: self.target(), progress })
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
        for (i, (_, var)) in self.choices.layers.iter().enumerate() {
            let values = with_values(&[var.as_tensor()], |w| match gates.get(LayerId(i)) {
                Some(gate) => (gate.apply(w[0]), true),
                None => (w[0].to_vec(), false),
            })?;
            n_zeros += values.0.iter().filter(|&&w| w == 0.0).count() as u64;
            if values.1 {
                write(var, values.0)?;
            }
        }
        Ok(n_zeros)
    }

    /// Everything that a step changes, for a checkpoint.
    pub fn state(&self) -> PrunerState {
        PrunerState {
            step: self.step.0,
            sparsity: self.sparsity.get(),
            cuts: self.cut.iter().map(|c| c.at).collect(),
            masks: self.cut.iter().map(|c| c.mask.words().to_vec()).collect(),
            schedule: self.choices.schedule.state(),
            told: self.told.as_ref().map(|(step, masks)| {
                (step.0, masks.iter().map(|mask| mask.words().to_vec()).collect())
            }),
        }
    }

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// [`PruneError::State`] or [`PruneError::Schedule`] if it belongs to another model or schedule; the pruner is
    /// then as it was.
    pub fn restore(&mut self, state: PrunerState) -> Result<(), PruneError> {
        let n = self.choices.layers.len();
        let misfit = |reason: String| PruneError::State { reason };
        if state.cuts.len() != n {
            let found = state.cuts.len();
            return Err(misfit(format!("it has {found} layers where the model has {n}")));
        }
        let sparsity = Sparsity::new(state.sparsity).map_err(|e| misfit(e.to_string()))?;
        let masks = self.masks_of(state.masks)?;
        let told = match state.told {
            Some((step, words)) => Some((Step(step), self.masks_of(words)?)),
            None => None,
        };
        self.choices.schedule.restore(&state.schedule)?;
        let cuts = masks.into_iter().zip(state.cuts);
        self.cut = cuts.map(|(mask, at)| LayerCut { at, mask }).collect();
        (self.sparsity, self.step, self.told) = (sparsity, Step(state.step), told);
        Ok(())
    }

    /// A mask for each layer, from packed words.
    fn masks_of(&self, words: Vec<Vec<u64>>) -> Result<Vec<Arc<Mask>>, PruneError> {
        let misfit = |reason: String| PruneError::State { reason };
        let (found, n) = (words.len(), self.choices.layers.len());
        if found != n {
            return Err(misfit(format!("it has {found} layers where the model has {n}")));
        }
        let layers = words.into_iter().zip(&self.choices.layers);
        layers
            .map(|(words, (info, var))| {
                Mask::from_words(words, var.elem_count())
                    .map(Arc::new)
                    .ok_or_else(|| misfit(format!("the mask of {} has another size", info.name)))
            })
            .collect()
    }

    pub(crate) fn vars(&self) -> impl Iterator<Item = &Var> {
        self.choices.layers.iter().map(|(_, var)| var)
    }

    fn groups(&self, sparsity: Sparsity) -> Result<Vec<Group>, PruneError> {
        let layers: Vec<Layer> = self
            .choices
            .layers
            .iter()
            .enumerate()
            .map(|(i, (info, _))| Layer { id: LayerId(i), info })
            .collect();
        Ok(self.choices.allocation.allocate(&layers, sparsity)?)
    }

    /// Cuts and masks of every layer at this sparsity, from the current weights.
    fn choose(&self, sparsity: Sparsity) -> Result<Vec<LayerCut>, PruneError> {
        let groups = if sparsity.is_dense() { Vec::new() } else { self.groups(sparsity)? };
        let tensors: Vec<&Tensor> = self.vars().map(|var| var.as_tensor()).collect();
        Ok(with_values(&tensors, |weights| {
            let mut cut: Vec<LayerCut> = weights
                .iter()
                .map(|w| LayerCut { at: 0.0, mask: Arc::new(Mask::full(w.len())) })
                .collect();
            for group in groups.iter().filter(|g| !g.layers.is_empty()) {
                let layers: Vec<&[f32]> = group.layers.iter().map(|id| weights[id.0]).collect();
                let n: usize = layers.iter().map(|w| w.len()).sum();
                // Not by its count: an interpolated cut prunes even where that rounds up to all weights.
                if n == 0 || group.sparsity.is_dense() {
                    continue; // Dense, as it stands.
                }
                let chosen =
                    self.choices.quantile.choose(&layers, group.n_keep, group.sparsity.get());
                for (id, mask) in group.layers.iter().zip(chosen.masks) {
                    cut[id.0] = LayerCut { at: chosen.at, mask: Arc::new(mask) };
                }
            }
            cut
        })?)
    }

    fn refreshed(&self) -> Result<Vec<LayerCut>, PruneError> {
        // A shrinking operator would turn kept weights that have fallen below a held cut into zeros that no count knows.
        let is_held = self.choices.cadence != Cadence::EVERY_STEP
            && self.choices.threshold == Threshold::Hard;
        if is_held { Ok(self.cut.clone()) } else { self.choose(self.sparsity) }
    }

    /// Tells the schedule what it listens to.
    fn tell(&mut self, seen: &MaskFeedback) {
        let window = self.choices.schedule.window();
        if window <= 1 {
            self.choices.schedule.observe(seen);
            return;
        }
        let over_window = match &self.told {
            Some((step, _)) if self.step.0 < step.0 + window => return,
            Some((_, masks)) => Some(self.changed_since(masks.iter().map(|mask| &**mask))),
            // What pruning begins with is no change.
            None if self.sparsity.is_dense() => return,
            None => None,
        };
        if let Some(seen) = over_window {
            self.choices.schedule.observe(&seen);
        }
        self.told = Some((self.step, self.cut.iter().map(|cut| cut.mask.clone()).collect()));
    }

    /// How the masks differ from these, layer by layer.
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

    /// Where the gradients of pruned weights come from in the step begun, and how many times they count.
    fn updates(&self) -> Result<(Vec<PrunedGradient>, f32), PruneError> {
        let all = |update: PrunedGradient| vec![update; self.cut.len()];
        Ok(match self.choices.update {
            PrunedUpdate::EveryStep => (all(PrunedGradient::Exact), 1.0),
            PrunedUpdate::EveryNth(n) if self.step.0.is_multiple_of(n) => {
                (all(PrunedGradient::Exact), n as f32)
            }
            PrunedUpdate::EveryNth(_) => {
                (self.cut.iter().map(|cut| PrunedGradient::Live(cut.mask.clone())).collect(), 1.0)
            }
            PrunedUpdate::Sampled { share, seed } => {
                let key = Rng::for_key([seed, self.step.0]).next_u64();
                (all(PrunedGradient::Sampled { share, key }), 1.0)
            }
            PrunedUpdate::Live { margin } => (self.live(margin)?, 1.0),
        })
    }

    /// The kept weights and the largest pruned ones, as many as `margin` times the kept ones of their group.
    fn live(&self, margin: f64) -> Result<Vec<PrunedGradient>, PruneError> {
        let groups =
            if self.sparsity.is_dense() { Vec::new() } else { self.groups(self.sparsity)? };
        let tensors: Vec<&Tensor> = self.vars().map(|var| var.as_tensor()).collect();
        Ok(with_values(&tensors, |weights| {
            let mut updates = vec![PrunedGradient::Exact; weights.len()];
            for group in groups {
                let layers: Vec<&[f32]> = group.layers.iter().map(|id| weights[id.0]).collect();
                let n_live = (group.n_keep as f64 * (1.0 + margin)).ceil() as u64;
                let near = Quantile::Exact.choose(&layers, n_live, 0.0).masks;
                for (id, near) in group.layers.iter().zip(near) {
                    // Held masks may keep weights that are not among the largest any more.
                    let live = near.union(&self.cut[id.0].mask);
                    updates[id.0] = PrunedGradient::Live(Arc::new(live));
                }
            }
            updates
        })?)
    }

    fn gates(&self, cut: &[LayerCut], updates: Vec<PrunedGradient>, times: f32) -> Gates {
        let of_all = self.pruned_grad();
        let is_per_layer = self.choices.gradient.is_per_layer();
        let gate = |(cut, update): (&LayerCut, PrunedGradient)| {
            let PrunedGrad { at_zero, at_cut } = match is_per_layer {
                true => self.pruned_grad_at(Sparsity::of(cut.mask.n_kept(), cut.mask.len() as u64)),
                false => of_all,
            };
            // A layer that keeps all its weights above a cut is still shrunk by it.
            (cut.at > 0.0 || cut.mask.n_kept() < cut.mask.len() as u64).then(|| Gate {
                threshold: self.choices.threshold,
                cut: cut.at,
                mask: cut.mask.clone(),
                pruned_gradient: update,
                grad_at_zero: times * at_zero,
                grad_at_cut: times * at_cut,
            })
        };
        Gates::new(cut.iter().zip(updates).map(gate).collect())
    }

    fn report_of(&self, cut: &[LayerCut]) -> Report {
        let layers = self.choices.layers.iter().zip(cut);
        Report {
            layers: layers
                .map(|((info, _), cut)| LayerReport {
                    info: info.clone(),
                    n_kept: cut.mask.n_kept(),
                })
                .collect(),
        }
    }
}

/// A tensor of these values with the shape, device and type of another.
pub(crate) fn tensor_like(other: &Tensor, values: Vec<f32>) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, other.dims(), &candle_core::Device::Cpu)?
        .to_device(other.device())?
        .to_dtype(other.dtype())
}

/// Overwrites a variable.
pub(crate) fn write(var: &Var, values: Vec<f32>) -> candle_core::Result<()> {
    var.set(&tensor_like(var, values)?)
}
