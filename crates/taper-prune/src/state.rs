//! What a pruner saves into a checkpoint.

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

/// Everything about a [`Pruner`] that a step changes. Masks are packed, as [`Mask::words`] has them.
#[derive(Clone, Debug, PartialEq)]
pub struct PrunerState {
    /// The step last begun; steps go on from there.
    pub step: u64,
    /// The sparsity imposed in it.
    pub sparsity: f64,
    /// The cut of each layer.
    pub cuts: Vec<f32>,
    /// The mask of each layer.
    pub masks: Vec<Vec<u64>>,
    /// The schedule's own state.
    pub schedule: State,
    /// What the operator has learned or keeps, in its own order; empty for most.
    pub operator: Vec<f32>,
    /// What criteria remember of the gradients of all steps, layer by layer; empty for most.
    pub memory: Vec<f32>,
    /// Whether weights are those that the operator begins a run with: after the first step, they are.
    pub has_initial: bool,
    /// The values of each layer that the run began with, if weights that enter begin with one of them.
    pub initial: Option<Vec<Vec<f32>>>,
    /// How many weights each layer keeps without those that exceed the sparsity of the schedule, while some do.
    pub budget: Option<Vec<u64>>,
    /// The step and masks that the schedule was last told of, if it listens over more than one step.
    pub told: Option<(u64, Vec<Vec<u64>>)>,
    /// The dropped weights of each layer, if any can be.
    pub dropped: Option<Vec<Vec<u64>>>,
    /// The step at which each weight of each layer was pruned, `u32::MAX` for a kept one; if that is followed.
    pub since: Option<Vec<Vec<u32>>>,
    /// What was seen at the steps of [`probe_at`](crate::PrunerBuilder::probe_at) so far.
    pub probes: Vec<ProbeState>,
}

/// What was seen at a step that weights were followed from.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeState {
    /// The step.
    pub step: u64,
    /// A byte for each weight of each layer: ten times its age class and its tenth of the cut, or 255 if it was kept.
    pub codes: Vec<Vec<u8>>,
    /// The weights that have been kept in a step since.
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

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// The state has masks and no counts of non-zeros: until the next step is begun, [`report`](Self::report) counts what the
    /// masks keep, which is more where a kept weight is 0, and [`n_live`](Self::n_live) stays as it was.
    ///
    /// # Errors
    /// [`PruneError::State`] or [`PruneError::Schedule`] if it belongs to another model, schedule or drop policy; the
    /// pruner is then as it was.
    pub fn restore(&mut self, state: PrunerState) -> Result<(), PruneError> {
        let n = self.choices.layers.len();
        if state.cuts.len() != n {
            let found = state.cuts.len();
            return Err(misfit(format!("it has {found} layers where the model has {n}")));
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
                return Err(misfit("a probe of it has another size".into()));
            }
            if !saved.codes.iter().flatten().all(|&code| history::is_code(code)) {
                return Err(misfit("a probe of it has an unknown code".into()));
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
        Ok(())
    }

    /// Refuses what swaps have left in a state if it belongs to other layers, or to another renewal.
    fn check_swaps(&self, state: &PrunerState) -> Result<(), PruneError> {
        let is_needed = state.has_initial && self.choices.remembers_initial();
        let sizes = self.choices.vars().map(|var| var.elem_count());
        let fits = match &state.initial {
            Some(initial) => is_needed && initial.iter().map(Vec::len).eq(sizes),
            None => !is_needed,
        };
        if !fits {
            return Err(misfit("weights that enter begin with other values in it".into()));
        }
        match &state.budget {
            Some(budget) if budget.len() != self.choices.layers.len() => {
                Err(misfit("its soft bound is one of other layers".into()))
            }
            Some(_) if self.choices.renewal.exceeds_until().is_none() => {
                Err(misfit("it was saved with a soft bound".into()))
            }
            _ => Ok(()),
        }
    }

    fn since_of(&self, saved: Option<Since>) -> Result<Option<Since>, PruneError> {
        let sizes = |since: &Since| since.iter().map(Vec::len).collect::<Vec<_>>();
        match saved.as_ref().map(sizes) == self.history.since.as_ref().map(sizes) {
            true => Ok(saved),
            false => Err(misfit("it follows other weights".into())),
        }
    }

    /// A mask for each layer, from packed words.
    fn masks_of(&self, words: Vec<Vec<u64>>) -> Result<Vec<Mask>, PruneError> {
        let (found, n) = (words.len(), self.choices.layers.len());
        if found != n {
            return Err(misfit(format!("it has {found} layers where the model has {n}")));
        }
        let layers = words.into_iter().zip(&self.choices.layers);
        layers
            .map(|(words, (info, var))| {
                Mask::from_words(words, var.elem_count())
                    .ok_or_else(|| misfit(format!("the mask of {} has another size", info.name)))
            })
            .collect()
    }
}

fn misfit(reason: String) -> PruneError {
    PruneError::State { reason }
}
