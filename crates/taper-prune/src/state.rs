//! State of a pruner in a checkpoint.

use crate::{
    Pruner,
    choose::LayerCut,
    error::PruneError,
    history::{self, History, Probe, Since},
};
use std::sync::Arc;
use taper_core::{LayerInfo, Sparsity, Step};
use taper_kernels::mask::Mask;
use taper_schedule::State;

/// Everything about a [`Pruner`] that a step changes. Masks are packed as in [`Mask::words`].
#[derive(Clone, Debug, PartialEq)]
pub struct PrunerState {
    /// The current step: the last one that was begun.
    pub step: u64,
    /// The sparsity imposed in that step.
    pub sparsity: f64,
    /// The magnitude threshold of each layer.
    pub cuts: Vec<f32>,
    /// The mask of each layer.
    pub masks: Vec<Vec<u64>>,
    /// The state of the schedule.
    pub schedule: State,
    /// The state of the operator; empty for most operators.
    pub operator: Vec<f32>,
    /// Values that criteria accumulate from the gradients of all steps, layer by layer; empty for most criteria.
    pub memory: Vec<f32>,
    /// Whether the initial weights of the operator have been set; true after the first step.
    pub has_initial: bool,
    /// The initial values of each layer, if regrown weights start with one of them.
    pub initial: Option<Vec<Vec<f32>>>,
    /// The number of weights that each layer keeps between prune-and-regrow updates, if its mask may have another one:
    /// more under a soft bound, or fewer with units that do not fit.
    pub budget: Option<Vec<u64>>,
    /// The step and the masks of the schedule's last observation, if its window is longer than one step.
    pub told: Option<(u64, Vec<Vec<u64>>)>,
    /// The permanently pruned weights of each layer, if there is a drop policy.
    pub dropped: Option<Vec<Vec<u64>>>,
    /// The step at which each weight of each layer was pruned, `u32::MAX` for a kept one; if this is recorded.
    pub since: Option<Vec<Vec<u32>>>,
    /// The records of the steps of [`probe_at`](crate::PrunerBuilder::probe_at) so far.
    pub probes: Vec<ProbeState>,
}

/// The record of a probe: the weights that were pruned at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeState {
    /// The step.
    pub step: u64,
    /// A byte for each weight of each layer: ten times its age class plus its decile, or 255 for a kept weight.
    pub codes: Vec<Vec<u8>>,
    /// The weights that were kept in a later step.
    pub back: Vec<Vec<u64>>,
}

fn words<'a>(masks: impl IntoIterator<Item = &'a Mask>) -> Vec<Vec<u64>> {
    masks.into_iter().map(|mask| mask.words().to_vec()).collect()
}

impl Pruner {
    /// Everything that a step changes, for a checkpoint.
    pub fn state(&self) -> PrunerState {
        let told = self.told.as_ref();
        PrunerState {
            step: self.step.0,
            sparsity: self.sparsity.get(),
            cuts: self.cut.iter().map(|c| c.at).collect(),
            masks: words(self.cut.iter().map(|c| &*c.mask)),
            schedule: self.choices.schedule.state(),
            operator: self.choices.operator.state(),
            memory: self.memory.state(),
            has_initial: self.has_initial,
            initial: self.initial.clone(),
            budget: self.budget.clone(),
            told: told.map(|(step, masks)| (step.0, words(masks.iter().map(|mask| &**mask)))),
            dropped: self.dropped.as_ref().map(words),
            since: self.history.since.clone(),
            probes: self
                .history
                .probes
                .iter()
                .map(|Probe { step, codes, back }| ProbeState {
                    step: step.0,
                    codes: codes.clone(),
                    back: words(back),
                })
                .collect(),
        }
    }

    /// Restores a [`state`](Self::state).
    ///
    /// The state contains masks, but no counts of non-zeros. Until the next step is begun, [`report`](Self::report)
    /// counts the weights that the masks keep, which is more if a kept weight is 0, and [`n_live`](Self::n_live) keeps
    /// its value.
    ///
    /// # Errors
    /// [`PruneError::State`] or [`PruneError::Schedule`] if the state is from another model, schedule or drop policy.
    /// The pruner is then unchanged.
    pub fn restore(&mut self, state: PrunerState) -> Result<(), PruneError> {
        let n = self.choices.layers.len();
        if state.cuts.len() != n {
            let found = state.cuts.len();
            return Err(misfit(format!("it has {found} layers, but the model has {n}")));
        }
        self.check_swaps(&state)?;
        let sparsity = Sparsity::new(state.sparsity).map_err(|e| misfit(e.to_string()))?;
        let masks = self.masks_of(state.masks)?;
        let told = match state.told {
            Some((step, words)) => {
                let masks = self.masks_of(words)?;
                Some((Step(step), masks.into_iter().map(Arc::new).collect()))
            }
            None => None,
        };
        if state.dropped.is_some() != self.dropped.is_some() {
            return Err(misfit("it was saved with another drop policy".into()));
        }
        let dropped = state.dropped.map(|words| self.masks_of(words)).transpose()?;
        let since = self.since_of(state.since)?;
        let probe = |saved: ProbeState| {
            let back = self.masks_of(saved.back)?;
            if !saved.codes.iter().map(Vec::len).eq(back.iter().map(Mask::len)) {
                return Err(misfit("one of its probes has the wrong size".into()));
            }
            if !saved.codes.iter().flatten().all(|&code| history::is_code(code)) {
                return Err(misfit("one of its probes has an unknown code".into()));
            }
            Ok(Probe { step: Step(saved.step), codes: saved.codes, back })
        };
        let probes = state.probes.into_iter().map(probe).collect::<Result<_, _>>()?;
        let memory = self.memory.with_state(&state.memory).map_err(misfit)?;
        let layers: Vec<&LayerInfo> = self.choices.layers.iter().map(|(info, _)| info).collect();
        let operator = self.choices.operator.state();
        self.choices.operator.restore(&state.operator, &layers).map_err(misfit)?;
        if let Err(error) = self.choices.schedule.restore(&state.schedule) {
            self.choices.operator.restore(&operator, &layers).map_err(misfit)?;
            return Err(error.into());
        }
        let cuts = masks.into_iter().zip(state.cuts);
        self.cut = cuts.map(|(mask, at)| LayerCut { at, mask: Arc::new(mask) }).collect();
        (self.sparsity, self.step, self.told) = (sparsity, Step(state.step), told);
        // Beginning step 0 again changes nothing while it is dense.
        self.has_begun = state.step > 0 || !sparsity.is_dense();
        self.n_kept = self.cut.iter().map(|cut| cut.mask.n_kept()).collect();
        (self.history, self.memory) = (History { since, probes }, memory);
        (self.dropped, self.has_initial) = (dropped, state.has_initial);
        (self.initial, self.budget) = (state.initial, state.budget);
        self.leave_step();
        Ok(())
    }

    /// Rejects prune-and-regrow state of other layers, or of another mask update rule.
    fn check_swaps(&self, state: &PrunerState) -> Result<(), PruneError> {
        let is_needed = state.has_initial && self.choices.remembers_initial();
        let sizes = self.choices.vars().map(|var| var.elem_count());
        let fits = match &state.initial {
            Some(initial) => is_needed && initial.iter().map(Vec::len).eq(sizes),
            None => !is_needed,
        };
        if !fits {
            return Err(misfit("it has other initial values for regrown weights".into()));
        }
        match &state.budget {
            Some(budget) if budget.len() != self.choices.layers.len() => {
                Err(misfit("its numbers of kept weights are for other layers".into()))
            }
            Some(_)
                if self.choices.renewal.exceeds_until().is_none()
                    && self.choices.structure.is_single() =>
            {
                Err(misfit("it was saved with a soft bound or another structure".into()))
            }
            _ => Ok(()),
        }
    }

    fn since_of(&self, saved: Option<Since>) -> Result<Option<Since>, PruneError> {
        let sizes = |since: &Since| since.iter().map(Vec::len).collect::<Vec<_>>();
        match saved.as_ref().map(sizes) == self.history.since.as_ref().map(sizes) {
            true => Ok(saved),
            false => Err(misfit("it records the ages of other weights".into())),
        }
    }

    /// A mask for each layer, from packed words.
    fn masks_of(&self, words: Vec<Vec<u64>>) -> Result<Vec<Mask>, PruneError> {
        let (found, n) = (words.len(), self.choices.layers.len());
        if found != n {
            return Err(misfit(format!("it has {found} layers, but the model has {n}")));
        }
        let layers = words.into_iter().zip(&self.choices.layers);
        layers
            .map(|(words, (info, var))| {
                Mask::from_words(words, var.elem_count())
                    .ok_or_else(|| misfit(format!("the mask of {} has the wrong size", info.name)))
            })
            .collect()
    }
}

fn misfit(reason: String) -> PruneError {
    PruneError::State { reason }
}
