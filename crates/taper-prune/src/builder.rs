//! Builder of a pruner.

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

/// The choices of a [`Pruner`]. Defaults are those of Feather, with exact counts.
#[derive(Debug)]
pub struct PrunerBuilder {
    choices: Choices,
}

impl Pruner {
    /// Starts to build a pruner of these weights for a run of `total_steps` steps.
    pub fn builder<V: Borrow<Var>>(
        layers: impl IntoIterator<Item = (LayerInfo, V)>,
        schedule: impl SparsitySchedule + 'static,
        total_steps: u64,
    ) -> PrunerBuilder {
        let layers = layers.into_iter().map(|(info, var)| (info, var.borrow().clone())).collect();
        PrunerBuilder { choices: Choices::new(layers, Box::new(schedule), total_steps) }
    }

    /// Feather as published: cubic schedule over the first half of `total_steps`, one global threshold, the operator
    /// with `p = 3`, and half the gradient for pruned weights if the target is above 95 %. Counts are exact.
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
    /// Sets a thresholding function as the [`operator`](Self::operator).
    #[must_use]
    pub fn threshold(self, threshold: Threshold) -> Self {
        self.operator(threshold)
    }

    /// Sets the operator: the values of kept weights, and their gradient.
    #[must_use]
    pub fn operator(mut self, operator: impl Operator + 'static) -> Self {
        self.choices.operator = Box::new(operator);
        self
    }

    /// Sets the criterion: the importance scores of weights.
    #[must_use]
    pub fn criterion(mut self, criterion: impl Criterion + 'static) -> Self {
        self.choices.criterion = Box::new(criterion);
        self
    }

    /// Sets how pruned weights are treated.
    #[must_use]
    pub fn remainder(mut self, remainder: Remainder) -> Self {
        self.choices.remainder = remainder;
        self
    }

    /// Sets the factor on initial weights when the first masks are chosen.
    #[must_use]
    pub fn initial_scale(mut self, scale: InitialScale) -> Self {
        self.choices.initial_scale = scale;
        self
    }

    /// Sets the gradient scale of pruned weights: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn gradient(mut self, gradient: impl GradientScale + 'static) -> Self {
        self.choices.remainder.gradient = Box::new(gradient);
        self
    }

    /// Sets how the sparsity is distributed over the layers.
    #[must_use]
    pub fn allocation(mut self, allocation: impl Allocation + 'static) -> Self {
        self.choices.allocation = Box::new(allocation);
        self
    }

    /// Sets which weights are kept or pruned together.
    #[must_use]
    pub fn structure(mut self, structure: impl Structure + 'static) -> Self {
        self.choices.structure = Box::new(structure);
        self
    }

    /// Sets how thresholds are computed.
    #[must_use]
    pub fn quantile(mut self, quantile: Quantile) -> Self {
        self.choices.quantile = quantile;
        self
    }

    /// Sets the mask update rule.
    #[must_use]
    pub fn renewal(mut self, renewal: impl Renewal + 'static) -> Self {
        self.choices.renewal = Box::new(renewal);
        self
    }

    /// Sets the steps at which masks are chosen: a [`renewal`](Self::renewal) by [`TopK`].
    #[must_use]
    pub fn cadence(self, cadence: Cadence) -> Self {
        self.renewal(TopK { cadence })
    }

    /// Sets when and from what the gradient of pruned weights is computed: a part of the
    /// [`remainder`](Self::remainder).
    #[must_use]
    pub fn pruned_update(mut self, update: PrunedUpdate) -> Self {
        self.choices.remainder.update = update;
        self
    }

    /// Sets which pruned weights become permanently pruned: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn drop(mut self, policy: DropPolicy) -> Self {
        self.choices.remainder.drop = Some(policy);
        self
    }

    /// Sets how dead filters are treated.
    #[must_use]
    pub fn dead_filters(mut self, choice: DeadFilters) -> Self {
        self.choices.dead_filters = choice;
        self
    }

    /// Tracks the weights that are pruned at these steps, and whether they are kept again later; see
    /// [`Pruner::fates`].
    #[must_use]
    pub fn probe_at(mut self, steps: Vec<Step>) -> Self {
        self.choices.probes = steps;
        self
    }

    /// Checks the choices and builds the pruner.
    ///
    /// # Errors
    /// [`PruneError`] if there are no layers, the target cannot be met, or a choice is out of range.
    pub fn build(self) -> Result<Pruner, PruneError> {
        self.choices.check()?;
        Ok(Pruner::new(self.choices))
    }
}
