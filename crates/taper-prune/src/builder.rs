//! Building a pruner.

use crate::{
    DeadFilters, DropPolicy, InitialScale, PrunedUpdate, Pruner, Quantile, Remainder,
    allocation::Allocation,
    choices::Choices,
    criterion::Criterion,
    error::PruneError,
    operator::Operator,
    renewal::{Renewal, TopK},
    structure::Structure,
};
use candle_core::Var;
use std::borrow::Borrow;
use taper_core::{LayerInfo, Sparsity, Step};
use taper_kernels::threshold::Threshold;
use taper_scale::GradientScale;
use taper_schedule::{Cadence, Ramp, SparsitySchedule};

/// Choices of a [`Pruner`]; what is not said is as in Feather, with exact counts.
#[derive(Debug)]
pub struct PrunerBuilder {
    choices: Choices,
}

impl Pruner {
    /// Starts building a pruner of these weights for a run of `total_steps`.
    pub fn builder<V: Borrow<Var>>(
        layers: impl IntoIterator<Item = (LayerInfo, V)>,
        schedule: impl SparsitySchedule + 'static,
        total_steps: u64,
    ) -> PrunerBuilder {
        let layers = layers.into_iter().map(|(info, var)| (info, var.borrow().clone())).collect();
        PrunerBuilder { choices: Choices::new(layers, Box::new(schedule), total_steps) }
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
}

impl PrunerBuilder {
    /// The threshold on kept weights: an [`operator`](Self::operator).
    #[must_use]
    pub fn threshold(self, threshold: Threshold) -> Self {
        self.operator(threshold)
    }

    /// The value of kept weights, and what their gradient becomes.
    #[must_use]
    pub fn operator(mut self, operator: impl Operator + 'static) -> Self {
        self.choices.operator = Box::new(operator);
        self
    }

    /// What weights are worth.
    #[must_use]
    pub fn criterion(mut self, criterion: impl Criterion + 'static) -> Self {
        self.choices.criterion = Box::new(criterion);
        self
    }

    /// What becomes of pruned weights.
    #[must_use]
    pub fn remainder(mut self, remainder: Remainder) -> Self {
        self.choices.remainder = remainder;
        self
    }

    /// What initial weights are multiplied by once the first masks are chosen.
    #[must_use]
    pub fn initial_scale(mut self, scale: InitialScale) -> Self {
        self.choices.initial_scale = scale;
        self
    }

    /// The share of the gradient that pruned weights receive: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn gradient(mut self, gradient: impl GradientScale + 'static) -> Self {
        self.choices.remainder.gradient = Box::new(gradient);
        self
    }

    /// How the sparsity is spread over the layers.
    #[must_use]
    pub fn allocation(mut self, allocation: impl Allocation + 'static) -> Self {
        self.choices.allocation = Box::new(allocation);
        self
    }

    /// What stands or falls together.
    #[must_use]
    pub fn structure(mut self, structure: impl Structure + 'static) -> Self {
        self.choices.structure = Box::new(structure);
        self
    }

    /// How cuts are found.
    #[must_use]
    pub fn quantile(mut self, quantile: Quantile) -> Self {
        self.choices.quantile = quantile;
        self
    }

    /// How masks change.
    #[must_use]
    pub fn renewal(mut self, renewal: impl Renewal + 'static) -> Self {
        self.choices.renewal = Box::new(renewal);
        self
    }

    /// The steps at which masks are chosen anew: a [`renewal`](Self::renewal) by [`TopK`].
    #[must_use]
    pub fn cadence(self, cadence: Cadence) -> Self {
        self.renewal(TopK { cadence })
    }

    /// When and from what the gradient of pruned weights is computed: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn pruned_update(mut self, update: PrunedUpdate) -> Self {
        self.choices.remainder.update = update;
        self
    }

    /// Which pruned weights leave for good: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn drop(mut self, policy: DropPolicy) -> Self {
        self.choices.remainder.drop = Some(policy);
        self
    }

    /// What becomes of filters that have lost every weight.
    #[must_use]
    pub fn dead_filters(mut self, choice: DeadFilters) -> Self {
        self.choices.dead_filters = choice;
        self
    }

    /// Follows the weights that are pruned at these steps; see [`Pruner::fates`].
    #[must_use]
    pub fn probe_at(mut self, steps: Vec<Step>) -> Self {
        self.choices.probes = steps;
        self
    }

    /// Checks the choices once.
    ///
    /// # Errors
    /// [`PruneError`] if there are no layers, the target cannot be met, or a choice is out of range.
    pub fn build(self) -> Result<Pruner, PruneError> {
        self.choices.check()?;
        Ok(Pruner::new(self.choices))
    }
}
