//! Values that criteria accumulate from the gradients of all steps.

use crate::{choices::Choices, criterion::Criterion};
use taper_core::{LayerId, Step};
use taper_nn::ops::with_values;

/// One number for each weight of each layer, for each criterion that remembers gradients.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Values of the pruning criterion; empty if it remembers nothing.
    criterion: Vec<Vec<f32>>,
    /// Values of the growth criterion; empty if it remembers nothing.
    grow: Vec<Vec<f32>>,
}

impl Memory {
    /// The values before the first step: 0.
    pub(crate) fn new(choices: &Choices) -> Self {
        let zeros = || choices.vars().map(|var| vec![0.0; var.elem_count()]).collect();
        let of = |is_asked| if is_asked { zeros() } else { Vec::new() };
        let grow = choices.renewal.grows_by().is_some_and(Criterion::remembers);
        Self { criterion: of(choices.criterion.remembers()), grow: of(grow) }
    }

    /// Whether no criterion remembers gradients.
    pub(crate) fn is_none(&self) -> bool {
        self.criterion.is_empty() && self.grow.is_empty()
    }

    /// The input of the pruning criterion: its accumulated values, or these gradients.
    pub(crate) fn of_criterion<'a>(
        &'a self,
        gradients: Option<&'a [Vec<f32>]>,
    ) -> Option<&'a [Vec<f32>]> {
        if self.criterion.is_empty() { gradients } else { Some(&self.criterion) }
    }

    /// The input of the growth criterion: its accumulated values, or these gradients.
    pub(crate) fn of_growth<'a>(
        &'a self,
        gradients: Option<&'a [Vec<f32>]>,
    ) -> Option<&'a [Vec<f32>]> {
        if self.grow.is_empty() { gradients } else { Some(&self.grow) }
    }

    /// Adds the gradients of a step.
    pub(crate) fn add(
        &mut self,
        choices: &Choices,
        gradients: &[Vec<f32>],
        step: Step,
    ) -> candle_core::Result<()> {
        let by = [Some(&*choices.criterion), choices.renewal.grows_by()];
        with_values(&choices.tensors(), |weights| {
            for (memory, by) in [&mut self.criterion, &mut self.grow].into_iter().zip(by) {
                let Some(by) = by else { continue };
                for (i, memory) in memory.iter_mut().enumerate() {
                    by.remember(
                        memory,
                        &choices.view(LayerId(i), weights[i], Some(gradients), step),
                    );
                }
            }
        })
    }

    /// All values, one layer after the other.
    pub(crate) fn state(&self) -> Vec<f32> {
        self.criterion.iter().chain(&self.grow).flatten().copied().collect()
    }

    /// A copy with the values of a [`state`](Self::state); a message, if the state is from other layers or criteria.
    pub(crate) fn with_state(&self, state: &[f32]) -> Result<Self, String> {
        let mut memory = self.clone();
        let mut values = state.iter();
        let mut wanted = 0;
        for layer in memory.criterion.iter_mut().chain(&mut memory.grow) {
            wanted += layer.len();
            layer.iter_mut().zip(&mut values).for_each(|(value, &saved)| *value = saved);
        }
        match state.len() == wanted {
            true => Ok(memory),
            false => Err(format!(
                "it has {} values of criteria, but this pruner has {wanted}; use the criteria that it was saved with",
                state.len()
            )),
        }
    }
}
